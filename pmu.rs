// SPDX-License-Identifier: GPL-2.0

//! The callbacks of perf.

use crate::{
    aux_buffer::{
        box_on_node,
        Buffer,
        Destination,
        EventData,
        Spe,
        WithoutTransaction, //
    },
    bindings::{
        self,
        SPE_MESSAGES, //
    },
    device::Units,
    event::{
        self,
        EventAttr,
        EventConfig,
        Invalid, //
    },
    helpers::{
        cancel_free_later,
        in_init_pid_ns,
        in_nmi,
        may_log,
        not_supported,
        perfmon_capable, //
    },
    percpu::NotInNmi,
    perf::{
        self,
        AuxPage,
        Event,
        NewEvent,
        Pmu, //
    },
    perf_quirks::{
        Deferrable,
        Deferred,
        NoSpace, //
    },
    version::LocalInterruptDisabled, //
};
use kernel::{
    cpu::CpuId,
    prelude::*,
    sync::Arc, //
};

/// The PMU of the units of one device.
pub(crate) struct SpePmu {
    pub(crate) units: Arc<Units>,
}

/// The buffers that perf gave back in an interrupt.
static DEFERRED: Deferred<Buffer> = Deferred::new();

/// Says why a live event has no AUX buffer.
#[inline(never)] // `setup_aux` of other events: 240 bytes of stack otherwise, not 192
fn no_aux_buffer() -> Error {
    if may_log(SPE_MESSAGES - 1) {
        pr_err!("live=1: there is no AUX buffer: use perf stat, not perf record\n");
    }
    EINVAL
}

/// Frees the buffers that perf gave back in an interrupt. `helpers.c` calls this in a task.
#[no_mangle]
extern "C" fn arm_spe_free_deferred_buffers() {
    DEFERRED.free_all();
}

/// Frees the last of these buffers. No other AUX buffer may exist.
pub(crate) fn free_deferred_buffers_at_unload() {
    cancel_free_later();
    DEFERRED.free_all();
}

// SAFETY: `Slot::start` alone activates events, the one that it is given. What it gets is in the
// state of the slot, and `Slot::stop`, which `del` calls, ends the transaction and drops it. `add`
// fails only if `Slot::start` has returned `false`: then the state does not have the event.
unsafe impl Pmu for SpePmu {
    type Types = Spe;

    // One event at a time; it writes an instruction trace, and other events can pause it.
    const CAPABILITIES: u32 = bindings::PERF_PMU_CAP_EXCLUSIVE
        | bindings::PERF_PMU_CAP_ITRACE
        | bindings::PERF_PMU_CAP_AUX_PAUSE;

    fn event_init(&self, event: &NewEvent<'_, Spe>) -> Result<KBox<EventData>> {
        // An inherited event must not keep a task from forking: `add` refuses it.
        if event.parent().is_none() && event.cpu().is_some_and(|cpu| !self.units.is_usable(cpu)) {
            return Err(ENOENT);
        }

        let attr = event.attr();
        let [config, config1, config2, config3, config4] = attr.config();
        let request = EventAttr {
            config,
            config1,
            config2,
            config3,
            config4,
            exclude_user: attr.exclude_user(),
            exclude_kernel: attr.exclude_kernel(),
            exclude_idle: attr.exclude_idle(),
            exclude_host: attr.exclude_host(),
            sigtrap: attr.sigtrap(),
            freq: attr.freq(),
        };
        let caps = self.units.caps();
        let mut config = EventConfig::new(&request, caps.sampling.features, caps.event_filter)
            .map_err(|invalid| match invalid {
                Invalid::NotSupported => not_supported(),
                Invalid::Malformed => EINVAL,
            })?;

        // The rights are those of the task that opened the event: a task that forks may have fewer,
        // and must still be able to fork.
        if let Some(parent) = event.parent() {
            config.pmscr = parent.data().config.pmscr;
        } else {
            let allowed = perf::allow_kernel();
            if config.is_privileged() {
                allowed?;
            }
            // CONTEXTIDR_EL1 holds PIDs of the initial namespace: perf would take them for those of
            // the opener's.
            if cfg!(CONFIG_PID_IN_CONTEXTIDR) && allowed.is_ok() && in_init_pid_ns() {
                config.enable_context();
            }
        }

        if config.live.is_some() && event.parent().is_none() && !perfmon_capable() {
            // The records are shown to readers of the trace event, whatever their event is.
            return Err(EACCES);
        }

        let mut data = KBox::new(
            EventData {
                config,
                no_space: NoSpace::new(attr.pinned()),
                destination: if config.discard {
                    Destination::NoTransaction(WithoutTransaction::Discard)
                } else {
                    Destination::Aux
                },
            },
            GFP_KERNEL,
        )?;
        if let Some(request) = data.config.live {
            if event.sample_period() == 0 {
                event.set_sample_period(request.interval);
            }
            // Last: `event_destroy` ends this.
            let live = self
                .units
                .open_live(request, data.config.samples_kernel())?;
            data.destination = Destination::NoTransaction(WithoutTransaction::Live(live));
        }
        event.set_period_left(event::first_period(event.sample_period()));
        Ok(data)
    }

    fn event_destroy(&self, data: KBox<EventData>) {
        if data.destination.live().is_some() {
            self.units.close_live();
        }
    }

    fn add(&self, event: &Event<Spe>, start: bool, context: NotInNmi<'_>) -> Result {
        let (slot, cpu) = self.units.this_cpu(context);
        if start && slot.start(event, cpu) {
            return Ok(());
        }
        if !self.units.is_usable(CpuId::current().as_u32()) {
            return Err(ENOENT);
        }
        if start {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn del(&self, event: &Event<Spe>, context: NotInNmi<'_>) {
        let (slot, cpu) = self.units.this_cpu(context);
        slot.stop(event, cpu);
    }

    fn start(&self, event: &Event<Spe>, context: NotInNmi<'_>) {
        let (slot, cpu) = self.units.this_cpu(context);
        // If it does not run, `hw.state` has `PERF_HES_STOPPED`.
        let _runs = slot.start(event, cpu);
    }

    fn stop(&self, event: &Event<Spe>, context: NotInNmi<'_>) {
        let (slot, cpu) = self.units.this_cpu(context);
        slot.stop(event, cpu);
    }

    fn update_sampling(&self, event: &Event<Spe>, irq: &LocalInterruptDisabled) {
        let cpu = self.units.this_cpu_in_nmi(irq);
        let _active = cpu.gate.update(event);
        #[cfg(ARM_SPE_DEBUG)]
        if _active {
            cpu.counters
                .count(if event.is_paused() || event.is_stopped() {
                    crate::counters::Counter::Pauses
                } else {
                    crate::counters::Counter::Resumes
                });
        }
    }

    fn read(&self, event: &Event<Spe>, irq: &LocalInterruptDisabled) {
        if event.data().destination.live().is_some() && !in_nmi() {
            // SAFETY: Just checked.
            let context = unsafe { NotInNmi::assume(irq) };
            let (slot, cpu) = self.units.this_cpu(context);
            slot.flush(cpu);
        }
    }

    fn setup_aux(
        &self,
        event: &Event<Spe>,
        cpu: Option<u32>,
        pages: &[AuxPage],
        overwrite: bool,
    ) -> Result<KBox<Deferrable<Buffer>>> {
        if event.data().destination.live().is_some() {
            return Err(no_aux_buffer());
        }
        let caps = self.units.caps();
        let buffer = Buffer::map(pages, caps.align, caps.sampling.max_record, overwrite)?;
        box_on_node(Deferrable::new(buffer), cpu)
    }

    fn free_aux(buffer: KBox<Deferrable<Buffer>>) {
        DEFERRED.free(buffer);
    }
}
