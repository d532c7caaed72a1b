// SPDX-License-Identifier: GPL-2.0

//! Events, AUX transactions and PMUs: an event runs on one CPU, a handle is in one
//! transaction at most, and what was validated when the event was opened does not change.

use crate::{
    aux_buffer::Spe,
    bindings,
    percpu::{
        run_on,
        NotInNmi, //
    },
    perf::{
        ActiveEvent,
        AuxFlags,
        AuxHandle,
        AuxPage,
        AuxTransaction,
        Event,
        NewEvent,
        NoBuffer,
        Pmu,
        PmuTypes,
        Registration, //
    },
    pmu::SpePmu,
    version::LocalInterruptDisabled, //
};
use core::{
    cell::Cell,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    str::CString, //
};

/// The types of another PMU.
struct Other;

impl PmuTypes for Other {
    type EventData = ();
    type Aux = u64;
}

/// Implements [`Pmu`] for a type, without running any event.
macro_rules! pmu_items {
    () => {
        type Types = Other;
        const CAPABILITIES: u32 = 0;

        fn event_init(&self, _event: &NewEvent<'_, Other>) -> Result<KBox<()>> {
            Err(EINVAL)
        }

        fn event_destroy(&self, _data: KBox<()>) {}

        fn add(&self, _event: &Event<Other>, _start: bool, _context: NotInNmi<'_>) -> Result {
            Err(EINVAL)
        }

        fn del(&self, _event: &Event<Other>, _context: NotInNmi<'_>) {}

        fn start(&self, _event: &Event<Other>, _context: NotInNmi<'_>) {}

        fn stop(&self, _event: &Event<Other>, _context: NotInNmi<'_>) {}

        fn update_sampling(&self, _event: &Event<Other>, _irq: &LocalInterruptDisabled) {}

        fn read(&self, _event: &Event<Other>, _irq: &LocalInterruptDisabled) {}

        fn setup_aux(
            &self,
            _event: &Event<Other>,
            _cpu: Option<u32>,
            _pages: &[AuxPage],
            _overwrite: bool,
        ) -> Result<KBox<u64>> {
            Err(EINVAL)
        }

        fn free_aux(_aux: KBox<u64>) {}
    };
}

/// Another PMU.
struct OtherPmu;

// SAFETY: Activates no event.
unsafe impl Pmu for OtherPmu {
    pmu_items!();
}

fn correct<T: PmuTypes>(
    handle: AuxHandle<T>,
    event: &Event<T>,
) -> Result<AuxHandle<T>, (AuxHandle<T>, NoBuffer)> {
    let _data: &T::EventData = event.data();
    let active = event.activate();
    let mut transaction = handle.begin(&active)?;
    let _aux: &T::Aux = transaction.aux();
    transaction.flag(AuxFlags::PARTIAL);
    Ok(transaction.end(0))
}

fn correct_without_transaction() -> Result {
    AuxHandle::<Spe>::new()?.free();
    Ok(())
}

/// A PMU that does not promise when it activates events.
#[cfg(misuse = "pmu_without_promise")]
impl Pmu for u8 {
    //~^ E0200 the trait `Pmu` requires an `unsafe impl` declaration
    pmu_items!();
}

/// What is kept with an event, of one CPU alone: perf reads it on any.
#[cfg(misuse = "event_data_of_one_cpu")]
impl PmuTypes for u8 {
    type EventData = Cell<u32>; //~ E0277 cannot be shared between threads safely
    type Aux = u64;
}

/// What is kept with a buffer, of one CPU alone: perf frees it on any.
#[cfg(misuse = "aux_of_one_cpu")]
impl PmuTypes for u8 {
    type EventData = ();
    type Aux = ActiveEvent<Spe>; //~ E0277 cannot be sent between threads safely
                                 //~^ E0277 cannot be shared between threads safely
}

/// A PMU of one CPU alone.
// SAFETY: Activates no event.
#[cfg(misuse = "pmu_of_one_cpu")]
unsafe impl Pmu for Cell<u32> {
    //~^ E0277 cannot be shared between threads safely
    pmu_items!();
}

/// A callback with an event of another PMU.
#[cfg(misuse = "callback_of_another_pmu")]
fn misuse(spe: &SpePmu, event: &Event<Other>, context: NotInNmi<'_>) -> Result {
    spe.add(event, true, context) //~ E0308 mismatched types
}

/// An event started where an NMI may do no more than pause it.
#[cfg(misuse = "start_in_nmi")]
fn misuse(spe: &SpePmu, event: &Event<Spe>, irq: &LocalInterruptDisabled) {
    spe.start(event, irq); //~ E0308 mismatched types
}

/// Any event of C as one of this PMU.
#[cfg(misuse = "adopt_event")]
fn misuse<'a>(event: *mut bindings::perf_event) -> &'a Event<Spe> {
    Event::from_raw(event) //~ E0133 call to unsafe function
}

/// As above, as one that is being opened.
#[cfg(misuse = "forge_new_event")]
fn misuse<'a>(event: &'a Event<Spe>, attr: &'a bindings::perf_event_attr) -> NewEvent<'a, Spe> {
    NewEvent {
        event,        //~ E0451 field `event` of struct
        attr,         //~ E0451 field `attr` of struct
        cpu: 0,       //~ E0451 field `cpu` of struct
        parent: None, //~ E0451 field `parent` of struct
    }
}

/// The `struct perf_event` of an event, which anything can be done to.
#[cfg(misuse = "event_of_c")]
fn misuse(event: &Event<Spe>) -> *mut bindings::perf_event {
    event.as_raw() //~ E0624 method `as_raw` is private
}

/// An event kept beyond the callback: perf may free it.
#[cfg(misuse = "keep_event")]
fn misuse(event: &Event<Spe>, kept: &Cell<Option<&'static Event<Spe>>>) {
    kept.set(Some(event)); //~ E0521 borrowed data escapes outside of function
}

/// An event used on a CPU that it does not run on.
#[cfg(misuse = "event_elsewhere")]
fn misuse(event: &Event<Spe>, cpu: u32) {
    let _left = run_on(cpu, |_| event.period_left());
    //~^ E0277 cannot be shared between threads safely
}

/// As above, of an event that runs.
#[cfg(misuse = "active_event_elsewhere")]
fn misuse(event: ActiveEvent<Spe>, cpu: u32) {
    let _left = run_on(cpu, move |_| event.period_left());
    //~^ E0277 cannot be sent between threads safely
}

/// An event said to run that does not.
#[cfg(misuse = "forge_active_event")]
fn misuse(event: &Event<Spe>) -> ActiveEvent<Spe> {
    ActiveEvent(event.into())
    //~^ E0423 cannot initialize a tuple struct which contains private fields
}

/// As above, twice.
#[cfg(misuse = "clone_active_event")]
fn misuse(event: &ActiveEvent<Spe>) -> ActiveEvent<Spe> {
    event.clone() //~ E0308 mismatched types
}

/// An event that runs, and is stopped at once.
#[cfg(misuse = "drop_active_event")]
fn misuse(event: &Event<Spe>) {
    event.activate(); //~ unused_must_use ActiveEvent` that must be used
}

/// An event that runs after it was stopped.
#[cfg(misuse = "use_after_stop")]
fn misuse(event: ActiveEvent<Spe>) {
    drop(event);
    event.unthrottle(); //~ E0382 borrow of moved value: `event`
}

/// An event that does not run made to run by the end of its throttling.
#[cfg(misuse = "unthrottle_inactive")]
fn misuse(event: &Event<Spe>) {
    event.unthrottle(); //~ E0599 no method named `unthrottle` found
}

/// `PERF_HES_STOPPED`, past [`ActiveEvent`].
#[cfg(misuse = "write_state")]
fn misuse(event: &Event<Spe>) {
    event.hw(); //~ E0624 method `hw` is private
}

/// What an event was opened with, changed.
#[cfg(misuse = "change_attr")]
fn misuse(event: &NewEvent<'_, Spe>) {
    event.attr().0.config = 2; //~ E0616 field `0` of struct
}

/// The validated request, changed after the event was opened.
#[cfg(misuse = "change_config")]
fn misuse(event: &Event<Spe>) {
    event.data().config.enable_context(); //~ E0596 cannot borrow
}

/// A callback of C called by something other than perf.
#[cfg(misuse = "call_callback")]
fn misuse(event: *mut bindings::perf_event) -> i32 {
    // SAFETY: None: the function is out of reach.
    unsafe { Registration::<SpePmu>::add(event, 0) } //~ E0624 associated function `add` is private
}

/// A PMU that was never registered.
#[cfg(misuse = "forge_registration")]
fn misuse(driver: SpePmu, name: CString, any: fn() -> !) -> Registration<SpePmu> {
    Registration {
        driver,        //~ E0451 field `driver` of struct
        name,          //~ E0451 field `name` of struct
        tagged: any(), //~ E0451 field `tagged` of struct
    }
}

/// A PMU away from where perf finds it.
#[cfg(misuse = "move_registration")]
fn misuse(one: Pin<&mut Registration<SpePmu>>, other: Pin<&mut Registration<SpePmu>>) {
    core::mem::swap(one.get_mut(), other.get_mut()); //~ E0277 cannot be unpinned
}

/// Any device as the one of this PMU.
#[cfg(misuse = "adopt_device")]
fn misuse<'a>(device: *mut kernel::bindings::device) -> &'a SpePmu {
    Registration::<SpePmu>::from_device(device) //~ E0133 call to unsafe function
}

/// A transaction of an event that may be on any CPU, or on none.
#[cfg(misuse = "begin_for_any_event")]
fn misuse(handle: AuxHandle<Spe>, event: &Event<Spe>) {
    let _transaction = handle.begin(event); //~ E0308 mismatched types
}

/// A transaction of one PMU for an event of another.
#[cfg(misuse = "begin_for_another_pmu")]
fn misuse(handle: AuxHandle<Spe>, event: &ActiveEvent<Other>) {
    let _transaction = handle.begin(event); //~ E0308 mismatched types
}

/// A second transaction with the handle of the first.
#[cfg(misuse = "begin_twice")]
fn misuse(handle: AuxHandle<Spe>, event: &ActiveEvent<Spe>) {
    let _first = handle.begin(event);
    let _second = handle.begin(event); //~ E0382 use of moved value: `handle`
}

/// A handle freed while perf may write to it.
#[cfg(misuse = "free_after_begin")]
fn misuse(handle: AuxHandle<Spe>, event: &ActiveEvent<Spe>) {
    let _transaction = handle.begin(event);
    handle.free(); //~ E0382 use of moved value: `handle`
}

/// As above, by way of the transaction.
#[cfg(misuse = "free_in_transaction")]
fn misuse(transaction: AuxTransaction<Spe>) {
    transaction.handle.free(); //~ E0616 field `handle` of struct
}

/// A handle used that is freed.
#[cfg(misuse = "begin_after_free")]
fn misuse(handle: AuxHandle<Spe>, event: &ActiveEvent<Spe>) {
    handle.free();
    let _transaction = handle.begin(event); //~ E0382 use of moved value: `handle`
}

/// A handle that is lost: a handle has no `Drop`.
#[cfg(misuse = "drop_handle")]
fn misuse(transaction: AuxTransaction<Spe>) {
    transaction.end(0); //~ unused_must_use AuxHandle` that must be used
}

/// A handle that perf may write to, or that is freed.
#[cfg(misuse = "forge_handle")]
fn misuse(handle: NonNull<bindings::perf_output_handle>) -> AuxHandle<Spe> {
    AuxHandle(handle, core::marker::PhantomData)
    //~^ E0423 cannot initialize a tuple struct which contains private fields
}

/// Two owners of one handle.
#[cfg(misuse = "clone_handle")]
fn misuse(handle: &AuxHandle<Spe>) -> AuxHandle<Spe> {
    handle.clone() //~ E0308 mismatched types
}

/// A transaction that may not have begun.
#[cfg(misuse = "begin_never_fails")]
fn misuse(handle: AuxHandle<Spe>, event: &ActiveEvent<Spe>) -> u64 {
    handle.begin(event).head() //~ E0599 no method named `head` found
}

/// A transaction that was never begun.
#[cfg(misuse = "forge_transaction")]
fn misuse(handle: AuxHandle<Spe>, aux: NonNull<<Spe as PmuTypes>::Aux>) -> AuxTransaction<Spe> {
    AuxTransaction {
        handle, //~ E0451 field `handle` of struct
        aux,    //~ E0451 field `aux` of struct
    }
}

/// A transaction ended twice.
#[cfg(misuse = "end_twice")]
fn misuse(transaction: AuxTransaction<Spe>) {
    transaction.end(0).free();
    transaction.end(0).free(); //~ E0382 use of moved value: `transaction`
}

/// The buffer used after the transaction: perf may free it.
#[cfg(misuse = "aux_after_end")]
fn misuse(transaction: AuxTransaction<Spe>) {
    let aux = transaction.aux();
    transaction.end(0).free(); //~ E0505 cannot move out of `transaction` because it is borrowed
    let _size = core::mem::size_of_val(aux);
}

/// Data given back without checking that there is as much.
#[cfg(misuse = "skip_never_fails")]
fn misuse(transaction: &mut AuxTransaction<Spe>) {
    transaction.skip(64); //~ unused_must_use Result` that must be used
}

/// A transaction that is never ended.
#[cfg(misuse = "drop_transaction")]
fn misuse(begin: fn() -> AuxTransaction<Spe>) {
    begin(); //~ unused_must_use AuxTransaction` that must be used
}

/// A transaction ended on another CPU than the one of its event.
#[cfg(misuse = "transaction_elsewhere")]
fn misuse(transaction: AuxTransaction<Spe>, cpu: u32) {
    let _result = run_on(cpu, move |_| transaction.end(0).free());
    //~^ E0277 cannot be sent between threads safely
}

/// A flag that perf sets itself.
#[cfg(misuse = "forge_flag")]
fn misuse(transaction: &mut AuxTransaction<Spe>) {
    transaction.flag(AuxFlags(2));
    //~^ E0423 cannot initialize a tuple struct which contains private fields
}
