// SPDX-License-Identifier: GPL-2.0

//! The KUnit cases of live events.

use super::*;

/// A live event of the kernel, with 64 records until the interrupt.
fn live() -> EventAttr {
    EventAttr {
        config: 1 << 63,
        config2: 64 << 16,
        ..kernel_only()
    }
}

/// Returns the records that were counted, if the event and the driver agree on their number.
fn records(bench: &Bench) -> Option<u64> {
    let counted = bench.counted(Counter::LiveRecords);
    // SAFETY: The event lives as long as the bench. Its count is an integer (`local64_t`).
    let count = unsafe { (&raw const (*bench.raw(0)).count).cast::<u64>().read() };
    (count == counted).then_some(counted)
}

/// Starts the event and waits for some records. Returns where its buffer begins.
fn some_records(bench: &Bench) -> core::result::Result<u64, &'static str> {
    hold!(bench.start(0));
    let first = pointer();
    hold!(work(|| pointer() > first + 512));
    Ok(first)
}

#[kunit_tests(arm_spe_live)]
mod tests {
    use super::*;

    /// The records of a full buffer are counted, and the event goes on.
    #[test]
    fn a_full_buffer() {
        assert!(run_with(&live(), false, |bench| {
            hold!(bench.start(0));
            hold!(bench.is_sampling());
            for times in 1..=3 {
                let first = pointer();
                hold!(work_until_service());
                hold!(bench.serve());
                hold!(bench.is_sampling());
                hold!(PMBSR_EL1::read().bits() == 0 && pointer() < first + 512);
                hold!(bench.counted(Counter::Full) == times);
                // Of any size up to the largest.
                hold!(records(bench).is_some_and(|records| records >= 64 * times));
            }
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.begun.get() == 0);
            hold!(bench.counted(Counter::LiveMalformed) == 0);
            Ok(())
        }));
    }

    /// A stop counts what is left in the buffer, also if the interrupt was about to come.
    #[test]
    fn a_stop() {
        assert!(run_with(&live(), false, |bench| {
            some_records(bench)?;
            bench.stop(0);
            hold!(bench.is_off());
            let before = records(bench);
            hold!(before.is_some_and(|records| records > 0));
            hold!(bench.start(0));
            hold!(work_until_service());
            bench.stop(0);
            hold!(bench.is_off() && PMBSR_EL1::read().bits() == 0);
            hold!(records(bench) >= before.map(|records| records + 64));
            Ok(())
        }));
    }

    /// When the task is switched, or the count is read, the records so far are counted, and the
    /// event goes on at the place where its buffer begins.
    #[test]
    fn a_flush() {
        assert!(run_with(&live(), false, |bench| {
            let (first, mut before) = (some_records(bench)?, Some(0));
            for _ in 0..3 {
                hold!(work(|| pointer() > first + 512));
                bench.slot.flush(&bench.cpu);
                hold!(bench.is_sampling() && pointer() < first + 512);
                hold!(records(bench) > before);
                before = records(bench);
            }
            // None of these is an interrupt, of which there could be too many.
            for _ in 0..2000 {
                bench.slot.flush(&bench.cpu);
            }
            hold!(bench.counted(Counter::LiveLimited) == 0);
            bench.stop(0);
            // Of a unit that is off there is nothing to count.
            let before = records(bench);
            bench.slot.flush(&bench.cpu);
            hold!(bench.is_off() && records(bench) == before);
            Ok(())
        }));
    }

    /// A flush leaves an event with an AUX buffer alone.
    #[test]
    fn a_flush_of_another_event() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            bench.slot.flush(&bench.cpu);
            hold!(bench.is_sampling() && bench.ring.ended.get() == 0);
            bench.stop(0);
            hold!(records(bench) == Some(0));
            Ok(())
        }));
    }

    /// A flush does not let a paused or throttled event sample.
    #[test]
    fn paused_and_throttled() {
        assert!(run_with(&live(), false, |bench| {
            hold!(bench.start(0));
            bench.pause(true);
            bench.slot.flush(&bench.cpu);
            hold!(bench.at() == Some(At::Paused));
            bench.pause(false);
            hold!(bench.at() == Some(At::Sampling));
            bench.throttle();
            bench.slot.flush(&bench.cpu);
            hold!(bench.at() == Some(At::Throttled));
            bench.stop(0);
            hold!(bench.is_off());
            Ok(())
        }));
    }

    /// After a fault the event is disabled, and what was written before counts.
    #[test]
    fn a_fault() {
        assert!(run_with(&live(), false, |bench| {
            some_records(bench)?;
            bench.happen(Does::Fault);
            hold!(bench.is_off() && bench.ring.disabled.get() == 1);
            hold!(records(bench).is_some_and(|records| records > 0));
            hold!(bench.counted(Counter::Truncated) == 1);
            // Enabled again.
            hold!(bench.start(0));
            hold!(bench.is_sampling());
            bench.stop(0);
            Ok(())
        }));
    }

    /// A collision is counted, and the event goes on.
    #[test]
    fn a_collision() {
        assert!(run_with(&live(), false, |bench| {
            hold!(bench.start(0));
            bench.interrupt(PMBSR_EL1::default().with(PMBSR_EL1::COLL, 1).bits() | 1);
            hold!(bench.is_sampling() && bench.ring.disabled.get() == 0);
            hold!(bench.counted(Counter::Collision) == 1);
            bench.stop(0);
            Ok(())
        }));
    }

    /// A CPU that goes offline, or may lose its power, keeps the records that it has made.
    #[test]
    fn offline_and_asleep() {
        assert!(run_with(&live(), false, |bench| {
            some_records(bench)?;
            bench.slot.sleep(&bench.cpu);
            hold!(bench.at() == Some(At::Asleep));
            bench.wake();
            hold!(bench.is_sampling());
            bench.offline();
            hold!(bench.is_off());
            hold!(records(bench).is_some_and(|records| records > 0));
            bench.online();
            Ok(())
        }));
    }
}
