// SPDX-License-Identifier: GPL-2.0

//! The register sequences: an output is enabled while the buffer is disabled, and as long as the
//! unit may write to it, its transaction cannot be ended.

use crate::{
    aux_buffer::{
        Spe,
        Transaction, //
    },
    event,
    percpu::{
        run_on,
        NotInNmi, //
    },
    perf::{
        ActiveEvent,
        AuxFlags,
        AuxHandle,
        Event, //
    },
    sysreg::PMBSR_EL1,
    unit::{
        self,
        Disabled,
        Enabled,
        Gate,
        NoTransaction,
        Output,
        Saved,
        Stopped, //
    }, //
};
use kernel::{
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::NotThreadSafe, //
};

fn correct(
    gate: &Gate,
    disabled: Disabled,
    event: &ActiveEvent<Spe>,
    output: Output,
) -> (Disabled, AuxHandle<Spe>) {
    let period = event::period(event.sample_period());
    let enabled = unit::start(gate, disabled, event, output, period);
    let stopped = enabled.stop(gate);
    let bytes = stopped.written().unwrap_or(0);
    let (disabled, output) = stopped.disable();
    let handle = match output {
        Output::Buffer(transaction) => transaction.end(bytes, AuxFlags::NONE),
        Output::NoTransaction(NoTransaction::Live(handle, buffer)) => {
            // SAFETY: Not executed.
            let _records = unsafe { disabled.written(&buffer, bytes) };
            handle
        }
        Output::NoTransaction(NoTransaction::Discard(handle)) => handle,
    };
    (disabled, handle)
}

fn correct_sleep(gate: &Gate, event: &ActiveEvent<Spe>, enabled: Enabled) -> Enabled {
    Saved::save(enabled, gate).restore(gate, event, 256)
}

fn correct_service(enabled: Enabled) -> Result<(Disabled, Output), Enabled> {
    enabled.service().map(Stopped::disable)
}

fn correct_acquire(gate: &Gate, output: Output, context: NotInNmi<'_>) -> Option<Enabled> {
    let disabled = Disabled::acquire(gate, context)?;
    Some(Enabled::new(disabled, output))
}

/// A buffer enabled that may be enabled already: its pointer would be written while it is.
#[cfg(misuse = "enable_without_disabled")]
fn misuse(output: Output) -> Enabled {
    Enabled::new(output) //~ E0061 this function takes 2 arguments but 1 argument was supplied
}

/// As above, with the token of a buffer that is enabled since.
#[cfg(misuse = "enable_twice")]
fn misuse(disabled: Disabled, outputs: (Output, Output)) {
    let _first = Enabled::new(disabled, outputs.0);
    let _second = Enabled::new(disabled, outputs.1); //~ E0382 use of moved value: `disabled`
}

/// A buffer said to be disabled that is not.
#[cfg(misuse = "forge_disabled")]
fn misuse() -> Disabled {
    Disabled(NotThreadSafe) //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// A token for two uses of the buffer.
#[cfg(misuse = "clone_disabled")]
fn misuse(disabled: &Disabled) -> Disabled {
    disabled.clone() //~ E0308 mismatched types
}

/// The buffer of another CPU enabled with the token of this one.
#[cfg(misuse = "disabled_elsewhere")]
fn misuse(disabled: Disabled, cpu: u32) {
    let _result = run_on(cpu, move |_| drop(disabled));
    //~^ E0277 cannot be sent between threads safely
}

/// As above, the other way round.
#[cfg(misuse = "disabled_from_elsewhere")]
fn misuse(gate: &Gate, cpu: u32) {
    let _disabled = run_on(cpu, |context| Disabled::acquire(gate, context));
    //~^ E0277 cannot be sent between threads safely
}

/// A transaction ended while the unit writes to it.
#[cfg(misuse = "end_after_enabling")]
fn misuse(disabled: Disabled, transaction: Transaction) -> Enabled {
    let enabled = Enabled::new(disabled, Output::Buffer(transaction));
    transaction.end(0, AuxFlags::NONE).free(); //~ E0382 use of moved value: `transaction`
    enabled
}

/// As above, by taking the output.
#[cfg(misuse = "take_output")]
fn misuse(enabled: Enabled) -> Output {
    enabled.0 //~ E0616 field `0` of struct
}

/// A transaction that has ended, for the unit to write to.
#[cfg(misuse = "enable_after_end")]
fn misuse(disabled: Disabled, transaction: Transaction) -> Enabled {
    transaction.end(0, AuxFlags::NONE).free();
    Enabled::new(disabled, Output::Buffer(transaction)) //~ E0382 use of moved value: `transaction`
}

/// An output said to be enabled that is not.
#[cfg(misuse = "forge_enabled")]
fn misuse(output: Output) -> Enabled {
    Enabled(output) //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// A unit that is never disabled.
#[cfg(misuse = "drop_enabled")]
fn misuse(disabled: Disabled, output: Output) {
    Enabled::new(disabled, output); //~ unused_must_use Enabled` that must be used
}

/// A buffer disabled while records may still be written.
#[cfg(misuse = "disable_without_stop")]
fn misuse(enabled: Enabled) -> (Disabled, Output) {
    enabled.disable() //~ E0599 no method named `disable` found
}

/// As above, when the unit has not asked for service.
#[cfg(misuse = "disable_without_request")]
fn misuse(enabled: Enabled) -> (Disabled, Output) {
    enabled.service().disable() //~ E0599 no method named `disable` found
}

/// As above, with a report of another unit.
#[cfg(misuse = "forge_stopped")]
fn misuse(output: Output, pmbsr: PMBSR_EL1) -> Stopped {
    Stopped {
        output,     //~ E0451 field `output` of struct
        pmbsr,      //~ E0451 field `pmbsr` of struct
        pointer: 0, //~ E0451 field `pointer` of struct
    }
}

/// The unit of another CPU disabled.
#[cfg(misuse = "stopped_elsewhere")]
fn misuse(stopped: Stopped, cpu: u32) {
    let _result = run_on(cpu, move |_| stopped.written());
    //~^ E0277 cannot be sent between threads safely
}

/// An output disabled twice.
#[cfg(misuse = "disable_twice")]
fn misuse(stopped: Stopped) {
    let _first = stopped.disable();
    let _second = stopped.disable(); //~ E0382 use of moved value: `stopped`
}

/// A transaction that is never ended, and a token that is lost.
#[cfg(misuse = "drop_output")]
fn misuse(stopped: Stopped) {
    stopped.disable(); //~ unused_must_use Disabled` in tuple element 0 that must be used
                       //~^ unused_must_use Output` in tuple element 1 that must be used
}

/// A transaction dealt with that there may not be.
#[cfg(misuse = "always_a_transaction")]
fn misuse(output: Output) -> AuxHandle<Spe> {
    let Output::Buffer(transaction) = output; //~ E0005 refutable pattern in local binding
    transaction.end(0, AuxFlags::NONE)
}

/// Sampling for an event that does not run on this CPU.
#[cfg(misuse = "start_inactive")]
fn misuse(gate: &Gate, disabled: Disabled, event: &Event<Spe>, output: Output) {
    let _enabled = unit::start(gate, disabled, event, output, 256); //~ E0308 mismatched types
}

/// A gate that is open although the unit is off.
#[cfg(misuse = "forge_gate")]
fn misuse(event: Atomic<usize>) -> Gate {
    Gate {
        event,                      //~ E0451 field `event` of struct
        in_use: Atomic::new(false), //~ E0451 field `in_use` of struct
    }
}

/// As above.
#[cfg(misuse = "change_gate")]
fn misuse(gate: &Gate, event: &Event<Spe>) {
    gate.event.store(event.address(), Relaxed); //~ E0616 field `event` of struct
}

/// Sampling that begins although the gate is closed.
#[cfg(misuse = "write_past_gate")]
fn misuse(event: &Event<Spe>) {
    Gate::write(event); //~ E0624 associated function `write` is private
}

/// The registers of a start written without one.
#[cfg(misuse = "write_filters")]
fn misuse(event: &ActiveEvent<Spe>) {
    unit::write_filters(event, 256); //~ E0603 function `write_filters` is private
}

/// A unit that continues twice after its CPU has slept.
#[cfg(misuse = "restore_twice")]
fn misuse(gate: &Gate, event: &ActiveEvent<Spe>, saved: Saved) {
    let _once = saved.restore(gate, event, 256);
    let _twice = saved.restore(gate, event, 256); //~ E0382 use of moved value: `saved`
}

/// A unit that is left off after its CPU has slept.
#[cfg(misuse = "drop_saved")]
fn misuse(gate: &Gate, enabled: Enabled) {
    Saved::save(enabled, gate); //~ unused_must_use unused `Saved` that must be used
}

/// A write pointer of which nothing says that it is in the span.
#[cfg(misuse = "enable_anywhere")]
fn misuse(disabled: Disabled, output: Output) {
    let _enabled = unsafe { Enabled::from_pointer(disabled, output, 0) };
    //~^ E0624 associated function `from_pointer` is private
}
