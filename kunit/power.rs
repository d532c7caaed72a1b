// SPDX-License-Identifier: GPL-2.0

//! The KUnit cases of a CPU that loses its power while its unit is in use.

use super::*;

#[kunit_tests(arm_spe_power)]
mod tests {
    use super::*;

    /// Sampling goes on where it was: the pointer, the interval, the transaction.
    #[test]
    fn goes_on() {
        assert!(run(|bench| {
            bench.event(0).set_sample_period(4096);
            hold!(bench.start(0));
            let start = pointer();
            hold!(work(|| pointer() > start + 1024));
            for _ in 0..3 {
                bench.slot.sleep(&bench.cpu);
                hold!(bench.at() == Some(At::Asleep) && bench.ring.open.get());
                hold!(!bench.event(0).is_stopped());
                let at = pointer();
                bench.wake();
                hold!(bench.is_sampling());
                hold!(PMBSR_EL1::read().bits() == 0);
                hold!(PMSFCR_EL1::read() == bench.config.pmsfcr);
                hold!(PMSIRR_EL1::read() == bench.config.interval(4096));
                hold!(PMSICR_EL1::read().bits() & u64::from(u32::MAX) <= 4096);
                hold!(pointer() - at < 1024);
                hold!(work(|| pointer() > at + 1024));
            }
            let end = {
                bench.pause(true);
                pointer()
            };
            bench.stop(0);
            hold!(bench.is_off());
            hold!(bench.ring.begun.get() == 1 && bench.ring.ended.get() == 1);
            hold!(bench.ring.bytes.get() == end - start && bench.ring.flags.get() == 0);
            hold!(bench.counted(Counter::Sleeps) == 3);
            Ok(())
        }));
    }

    /// An interval that is not over goes on.
    #[test]
    fn the_interval_goes_on() {
        assert!(run(|bench| {
            bench.event(0).set_sample_period(1 << 20);
            bench.event(0).set_period_left(1 << 20);
            hold!(bench.start(0));
            spin(10_000);
            bench.pause(true);
            let left = PMSICR_EL1::read();
            hold!(left.bits() & u64::from(u32::MAX) < 1 << 20);
            bench.slot.sleep(&bench.cpu);
            bench.wake();
            hold!(PMSICR_EL1::read() == left);
            bench.stop(0);
            Ok(())
        }));
    }

    /// A request for service that is pending waits until the CPU is back.
    #[test]
    fn with_a_full_buffer() {
        assert!(run(|bench| {
            bench.ring.space.set(2 * PAGE_SIZE as u64);
            hold!(bench.start(0));
            hold!(work_until_service());
            bench.slot.sleep(&bench.cpu);
            hold!(bench.at() == Some(At::Asleep));
            // It ends the sleep at once.
            hold!(PMBSR_EL1::read().has(PMBSR_EL1::S));
            bench.wake();
            hold!(PMBSR_EL1::read().has(PMBSR_EL1::S));
            bench.ring.space.set(SIZE - 1);
            hold!(bench.serve());
            hold!(bench.is_sampling());
            hold!(bench.ring.ended.get() == 1 && bench.ring.bytes.get() > PAGE_SIZE as u64);
            hold!(bench.ring.flags.get() == 0 && bench.counted(Counter::Full) == 1);
            bench.stop(0);
            Ok(())
        }));
    }

    #[test]
    fn with_a_collision() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            // SAFETY: COLL is a status bit: it neither enables the unit nor moves the pointer.
            unsafe { PMBSR_EL1::default().with(PMBSR_EL1::COLL, 1).write() };
            isb();
            bench.slot.sleep(&bench.cpu);
            bench.wake();
            hold!(bench.is_sampling());
            bench.stop(0);
            hold!(bench.ring.flags.get() == COLLISION);
            Ok(())
        }));
    }

    /// The unit does not write to where a stray pointer is. The handler reports it.
    #[test]
    fn with_a_stray_pointer() {
        assert!(run(|bench| {
            bench.ring.head.set(2 * PAGE_SIZE as u64);
            hold!(bench.start(0));
            bench.pause(true);
            // In the buffer, so that no fault stops the unit.
            let stray = PMBPTR_EL1::read().bits() - PAGE_SIZE as u64;
            // SAFETY: PMSCR_EL1 is 0 while it is paused: nothing is written to the stray address.
            unsafe { PMBPTR_EL1::from_bits(stray).write() };
            isb();
            bench.slot.sleep(&bench.cpu);
            bench.pause(false);
            bench.wake();
            hold!(PMBSR_EL1::read().has(PMBSR_EL1::S));
            hold!(!work(|| pointer() != stray));
            hold!(bench.serve());
            hold!(bench.is_off() && bench.ring.bytes.get() == 0);
            hold!(bench.ring.flags.get() & TRUNCATED != 0);
            hold!(bench.counted(Counter::StrayPointer) == 1);
            hold!(bench.counted(Counter::UnknownStatus) == 0);
            Ok(())
        }));
    }

    /// An NMI changes the event while the CPU is asleep, or before.
    #[test]
    fn paused_and_throttled() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            bench.pause(true);
            bench.slot.sleep(&bench.cpu);
            bench.wake();
            hold!(bench.at() == Some(At::Paused));
            bench.slot.sleep(&bench.cpu);
            bench.pause(false);
            hold!(bench.at() == Some(At::Asleep));
            bench.wake();
            hold!(bench.is_sampling());
            bench.slot.sleep(&bench.cpu);
            bench.throttle();
            hold!(bench.at() == Some(At::Asleep));
            bench.wake();
            hold!(bench.at() == Some(At::Throttled));
            hold!(bench.start(0));
            hold!(bench.is_sampling() && bench.ring.begun.get() == 1);
            bench.stop(0);
            Ok(())
        }));
    }

    /// The status that a unit which is off gets by the loss of its power is not the next event's.
    #[test]
    fn off() {
        assert!(run(|bench| {
            bench.slot.sleep(&bench.cpu);
            bench.wake();
            hold!(bench.is_off() && PMBSR_EL1::read().bits() == 0);
            hold!(!bench.serve());
            hold!(bench.start(0));
            let start = pointer();
            hold!(work(|| pointer() > start));
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.flags.get() == 0);
            hold!(bench.counted(Counter::Sleeps) == 0);
            Ok(())
        }));
    }

    /// The values that the registers have got sample nothing: this event must not see the kernel.
    #[test]
    fn samples_only_what_it_may() {
        let attr = EventAttr {
            exclude_kernel: true,
            ..EventAttr::default()
        };
        assert!(run_with(&attr, false, |bench| {
            hold!(bench.start(0));
            let at = pointer();
            for _ in 0..100 {
                bench.slot.sleep(&bench.cpu);
                bench.wake();
                hold!(bench.is_sampling());
            }
            hold!(pointer() == at);
            bench.stop(0);
            hold!(bench.ring.bytes.get() == 0);
            Ok(())
        }));
    }

    /// The kernel does not say that the CPU is back: what comes next wakes the unit first.
    #[test]
    fn without_an_exit() {
        assert!(run(|bench| {
            for next in [
                |bench: &Bench| bench.stop(0),
                |bench: &Bench| {
                    bench.start(0);
                    bench.slot.sleep(&bench.cpu);
                    bench.slot.sleep(&bench.cpu);
                    bench.stop(0);
                },
                |bench: &Bench| bench.offline(),
                |bench: &Bench| {
                    bench.serve();
                    bench.stop(0);
                },
            ] {
                bench.ring.head.set(0);
                bench.ring.space.set(SIZE - 1);
                hold!(bench.start(0));
                let start = pointer();
                hold!(work(|| pointer() > start + 1024));
                bench.slot.sleep(&bench.cpu);
                let bytes = pointer() - start;
                lose_power();
                next(bench);
                hold!(bench.ring.bytes.get() >= bytes && !bench.ring.open.get());
                bench.stop(0);
                bench.online();
                hold!(bench.is_off());
            }
            Ok(())
        }));
    }

    #[test]
    fn discarding() {
        let mut attr = kernel_only();
        attr.config |= 1 << 35;
        assert!(run_with(&attr, false, |bench| {
            hold!(bench.start(0));
            bench.slot.sleep(&bench.cpu);
            hold!(bench.at() == Some(At::Asleep));
            bench.wake();
            hold!(bench.is_sampling());
            hold!(PMBLIMITR_EL1::read().get(PMBLIMITR_EL1::FM) == FM_DISCARD);
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.begun.get() == 0);
            Ok(())
        }));
    }
}
