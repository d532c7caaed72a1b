// SPDX-License-Identifier: GPL-2.0

//! The KUnit cases of the state machine.

use super::*;

#[kunit_tests(arm_spe_state)]
mod tests {
    use super::*;

    #[test]
    fn transitions() {
        assert!(run(|bench| {
            for (number, &(from, does, to)) in TRANSITIONS.iter().enumerate() {
                bench.ring.head.set(0);
                bench.ring.space.set(SIZE - 1);
                bench.go(from);
                hold!(bench.at() == Some(from));
                bench.happen(does);
                if bench.at() != Some(to) {
                    pr_err!("    # transition number {} of the table\n", number);
                    return Err("the state is that of the table");
                }
                // Off again.
                bench.event(0).set_paused(false);
                bench.stop(0);
                bench.stop(1);
                bench.online();
                hold!(bench.at() == Some(At::Off) && !bench.ring.open.get());
            }
            Ok(())
        }));
    }

    #[test]
    fn samples_between_start_and_stop() {
        assert!(run(|bench| {
            hold!(bench.is_off());
            hold!(bench.start(0));
            hold!(bench.is_sampling());
            let start = pointer();
            hold!(work(|| pointer() > start + 1024));
            bench.stop(0);
            hold!(bench.is_off());
            hold!(bench.ring.bytes.get() >= 1024);
            hold!(bench.ring.flags.get() == 0);
            // All of it is records, and nothing was written after it.
            let (first, last) = (&bench.memory[0], &bench.memory[PAGES - 1]);
            hold!(first.0[0] != 0);
            hold!(last.0.iter().all(|&byte| byte == 0));
            Ok(())
        }));
    }

    /// A period that is not over goes on when the event does.
    #[test]
    fn a_period_goes_on() {
        assert!(run(|bench| {
            bench.event(0).set_sample_period(1 << 20);
            bench.event(0).set_period_left(1 << 20);
            hold!(bench.start(0));
            spin(10_000);
            bench.stop(0);
            let left = bench.event(0).period_left() & u64::from(u32::MAX);
            hold!(left < 1 << 20);
            hold!(bench.start(0));
            bench.stop(0);
            hold!(bench.event(0).period_left() & u64::from(u32::MAX) <= left);
            Ok(())
        }));
    }

    #[test]
    fn a_full_buffer_is_handed_over() {
        assert!(run(|bench| {
            bench.ring.space.set(2 * PAGE_SIZE as u64);
            hold!(bench.start(0));
            hold!(work_until_service());
            // The reader has freed more since.
            bench.ring.space.set(SIZE - 1);
            hold!(bench.serve());
            hold!(bench.is_sampling());
            hold!(!PMBSR_EL1::read().has(PMBSR_EL1::S));
            hold!(bench.ring.ended.get() == 1 && bench.ring.begun.get() == 2);
            hold!(bench.ring.bytes.get() > PAGE_SIZE as u64);
            hold!(bench.ring.flags.get() == 0);
            let start = pointer();
            hold!(work(|| pointer() > start));
            bench.stop(0);
            hold!(bench.is_off());
            Ok(())
        }));
    }

    /// The event got another ring (`PERF_EVENT_IOC_SET_OUTPUT`), of the other kind: the handler
    /// continues there, with the head kept as that kind wants it.
    #[test]
    fn goes_on_in_another_ring() {
        for snapshot in [true, false] {
            assert!(run_with(&kernel_only(), snapshot, |bench| {
                bench.ring.space.set(2 * PAGE_SIZE as u64);
                hold!(bench.start(0));
                hold!(work_until_service());
                // SAFETY: The event has no other user. `rb` points to a ring in the place of perf's
                // buffer, which only the stub's functions take it for.
                unsafe { (*bench.raw(0)).rb = (&raw const *bench.other).cast_mut().cast() };
                hold!(bench.serve());
                hold!(!bench.ring.open.get() && bench.other.open.get());
                hold!(!bench.event(0).is_stopped());
                hold!(PMSCR_EL1::read() == bench.config.pmscr);
                hold!(bench.other.flags.get() == 0);
                let start = pointer();
                hold!(work(|| pointer() > start));
                bench.stop(0);
                hold!(!bench.other.open.get() && bench.other.bytes.get() > 0);
                hold!(bench.other.head.get() == bench.other.bytes.get());
                Ok(())
            }));
        }
    }

    /// While perf begins or ends a transaction, the buffer is disabled, however much of it is free:
    /// another CPU may have a transaction of the same buffer then.
    #[test]
    fn writes_only_inside_a_transaction() {
        assert!(run(|bench| {
            bench.ring.wakeup.set(PAGE_SIZE as u64);
            hold!(bench.start(0));
            for round in 1..=2 {
                hold!(work_until_service());
                hold!(bench.serve());
                hold!(bench.ring.ended.get() == round && bench.is_sampling());
            }
            bench.stop(0);
            hold!(bench.is_off() && !bench.ring.enabled.get());
            hold!(bench.counted(Counter::Bytes) == bench.ring.head.get());
            Ok(())
        }));
    }

    /// The handler cannot begin another transaction: the unit is off when it returns.
    #[test]
    fn a_full_buffer_without_more() {
        for mapped in [true, false] {
            let case = if mapped {
                |bench: &Bench| full_without_more(bench, true)
            } else {
                |bench: &Bench| full_without_more(bench, false)
            };
            assert!(run(case));
        }
    }

    fn full_without_more(bench: &Bench, mapped: bool) -> Outcome {
        bench.ring.space.set(PAGE_SIZE as u64);
        hold!(bench.start(0));
        hold!(work_until_service());
        bench.ring.mapped.set(mapped);
        hold!(bench.serve());
        hold!(bench.is_off());
        hold!(!PMBSR_EL1::read().has(PMBSR_EL1::S));
        hold!(!bench.serve());
        Ok(())
    }

    /// The unit asks for service while the event is being stopped: that ends with this event.
    #[test]
    fn stopped_before_the_interrupt() {
        assert!(run(|bench| {
            bench.ring.space.set(PAGE_SIZE as u64);
            hold!(bench.start(0));
            hold!(work_until_service());
            bench.stop(0);
            hold!(bench.is_off());
            hold!(bench.ring.bytes.get() > 0);
            hold!(!bench.serve());
            Ok(())
        }));
    }

    /// No register is written when there is no space.
    #[test]
    fn no_space() {
        for case in [
            |bench: &Bench| {
                start_fails(bench, 63, true)?;
                hold!(bench.ring.begun.get() > 0 && bench.ring.flags.get() & TRUNCATED != 0);
                Ok(())
            },
            |bench: &Bench| start_fails(bench, 0, true),
            |bench: &Bench| start_fails(bench, SIZE - 1, false),
        ] {
            assert!(run(case));
        }
    }

    /// Space that is skipped up to a multiple of the alignment keeps nothing of older records.
    #[test]
    fn padding_is_zeroed() {
        for snapshot in [false, true] {
            assert!(run_with(&kernel_only(), snapshot, |bench| {
                let padding = || bench.memory[0].0[1..64].iter();
                hold!(bench.start(0));
                let start = pointer();
                hold!(work(|| pointer() > start + 1024));
                bench.stop(0);
                hold!(padding().any(|&byte| byte != 0));

                let first = bench.memory[0].0[0];
                bench.ring.head.set(SIZE + 1);
                bench.ring.space.set(SIZE - 1);
                hold!(bench.start(0));
                hold!(PMBPTR_EL1::read().bits() >= start + 64);
                bench.stop(0);
                hold!(padding().all(|&byte| byte == 0));
                hold!(bench.memory[0].0[0] == first && first != 0);
                Ok(())
            }));
        }
    }

    /// perf hands out the buffer of another PMU: it is not used.
    #[test]
    fn another_pmus_buffer() {
        assert!(run(|bench| {
            // Pointers to allocations of C, and tags of other PMUs.
            let tags = [0, 8, 56, 3, 17, 63];
            for tag in tags {
                bench.ring.tag.set(tag);
                start_fails(bench, SIZE - 1, true)?;
                hold!(bench.ring.begun.get() > 0 && bench.ring.bytes.get() == 0);
            }
            hold!(bench.counted(Counter::StartNotMapped) == tags.len() as u64);
            bench.ring.tag.set(1);
            hold!(bench.start(0));
            bench.stop(0);
            Ok(())
        }));
    }

    /// A tag is recognised by the PMU that it belongs to alone.
    #[test]
    fn owner_tags() -> Result {
        let value = KBox::new(Deferrable::new(0), GFP_KERNEL)?;
        let pointer = NonNull::from(&*value);
        for owner in 0..32 {
            let tagged = OwnerTag::new(owner).tag(pointer);
            for other in 0..32 {
                let found = OwnerTag::new(other).untag(tagged);
                assert_eq!(found, (other == owner).then_some(pointer));
            }
            assert_eq!(OwnerTag::strip(tagged), pointer.as_ptr());
            for even in (0..64).step_by(2) {
                let foreign = pointer.as_ptr().wrapping_byte_add(even).cast();
                assert_eq!(OwnerTag::new(owner).untag::<Deferrable<i32>>(foreign), None);
            }
        }
        Ok(())
    }

    /// All boxes that were freed where the kernel may not sleep go where it may.
    #[test]
    fn deferred_boxes() -> Result {
        static DROPPED: Atomic<i32> = Atomic::new(0);
        static LIST: Deferred<Counted> = Deferred::new();

        struct Counted;
        impl Drop for Counted {
            fn drop(&mut self) {
                DROPPED.add(1, Relaxed);
            }
        }

        DROPPED.store(0, Relaxed);
        let boxes = [
            KBox::new(Deferrable::new(Counted), GFP_KERNEL)?,
            KBox::new(Deferrable::new(Counted), GFP_KERNEL)?,
        ];
        run_on(0, move |_| {
            for entry in boxes {
                LIST.free(entry);
            }
        })?;
        assert_eq!(DROPPED.load(Relaxed), 0);
        LIST.free_all();
        assert_eq!(DROPPED.load(Relaxed), 2);
        Ok(())
    }

    /// Truncation is reported once, until there was space again.
    #[test]
    fn reports_no_space_once() {
        assert!(run(|bench| {
            for _ in 0..2 {
                bench.ring.space.set(63);
                hold!(!bench.start(0));
                hold!(bench.ring.flags.get() & TRUNCATED != 0);
                for _ in 0..2 {
                    hold!(!bench.start(0));
                    hold!(bench.ring.flags.get() & TRUNCATED == 0);
                }
                bench.ring.space.set(SIZE - 1);
                hold!(bench.start(0));
                bench.stop(0);
            }
            hold!(bench.counted(Counter::StartNoSpace) == 6);
            hold!(bench.counted(Counter::Truncated) == 2);
            Ok(())
        }));
    }

    fn jiffies() -> u64 {
        // SAFETY: A static variable, which C writes as a whole word.
        unsafe { (&raw const kernel::bindings::jiffies).read_volatile() as u64 }
    }

    /// On PREEMPT_RT perf is asked once per jiffy if it has no space at all.
    #[test]
    fn asks_once_per_jiffy() {
        assert!(run(|bench| {
            bench.ring.space.set(0);
            loop {
                let before = jiffies();
                bench.data[0].no_space.reset();
                bench.ring.asked.set(0);
                hold!(!bench.start(0) && !bench.start(0));
                // Otherwise a new jiffy began.
                if jiffies() == before {
                    break;
                }
            }
            let limited = cfg!(CONFIG_PREEMPT_RT);
            hold!(bench.ring.asked.get() == if limited { 1 } else { 2 });
            hold!(bench.counted(Counter::StartFull) >= 2);
            bench.data[0].no_space.reset();
            bench.ring.space.set(SIZE - 1);
            hold!(bench.start(0));
            // An event that ran may start as soon as there is space again.
            bench.happen(Does::FullUp);
            hold!(bench.is_off());
            bench.ring.space.set(SIZE - 1);
            hold!(bench.start(0));
            bench.stop(0);
            // A pinned event is never refused without asking.
            let pinned = NoSpace::new(true);
            pinned.note();
            hold!(!pinned.is_recent());
            Ok(())
        }));
    }

    fn start_fails(bench: &Bench, space: u64, mapped: bool) -> Outcome {
        PMSFCR_EL1::default().with(PMSFCR_EL1::FL, 1).write();
        PMSIRR_EL1::default().with(PMSIRR_EL1::INTERVAL, 77).write();
        isb();
        let before = registers();
        bench.ring.space.set(space);
        bench.ring.mapped.set(mapped);
        hold!(!bench.start(0));
        isb();
        hold!(bench.is_off());
        hold!(before == registers());
        hold!(bench.ring.begun.get() == bench.ring.ended.get());
        Ok(())
    }

    /// The write pointer is moved to an address that is not mapped: a fault, and a pointer out of
    /// range.
    #[test]
    fn a_fault() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            // SAFETY: The unit faults instead of writing: nothing is mapped at the end of the
            // address space, where error pointers are.
            unsafe {
                PMBPTR_EL1::from_bits(u64::MAX << 20).write();
                PMBLIMITR_EL1::from_bits(u64::MAX << 19 | 1).write();
            }
            isb();
            hold!(work_until_service());
            hold!(bench.serve());
            hold!(bench.is_off());
            hold!(bench.ring.bytes.get() == 0);
            hold!(bench.ring.flags.get() & TRUNCATED != 0);
            hold!(
                bench.counted(Counter::FaultStage1) == 1 && bench.counted(Counter::Truncated) == 1
            );
            hold!(bench.counted(Counter::StrayPointer) == 1);
            // It works again.
            hold!(bench.start(0));
            let start = pointer();
            hold!(work(|| pointer() > start));
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.bytes.get() > 0);
            Ok(())
        }));
    }

    /// Errors of the hardware end the event, are flagged and counted.
    #[test]
    fn hardware_errors() {
        assert!(run(|bench| {
            for (pmbsr, counter) in [
                (0x24 << 26, Counter::FaultStage1),
                (0x25 << 26, Counter::FaultStage2),
                (1 << 18, Counter::ExternalAbort),
                (1 << 18 | 1, Counter::ExternalAbort),
                (2, Counter::UnknownStatus),
                (0x3f << 26, Counter::UnknownClass),
                (1 << 19 | 1, Counter::Partial),
            ] {
                let (before, truncated) =
                    (bench.counted(counter), bench.counted(Counter::Truncated));
                bench.ring.head.set(0);
                bench.ring.space.set(SIZE - 1);
                hold!(bench.start(0));
                bench.interrupt(pmbsr);
                hold!(bench.is_off());
                hold!(bench.ring.flags.get() & TRUNCATED != 0);
                hold!(bench.counted(counter) == before + 1);
                hold!(bench.counted(Counter::Truncated) == truncated + 1);
            }
            hold!(bench.start(0));
            hold!(!bench.serve());
            hold!(bench.counted(Counter::Spurious) == 1);
            bench.stop(0);
            Ok(())
        }));
    }

    /// A write pointer out of range is an error of its own.
    #[test]
    fn a_stray_pointer() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            bench.pause(true);
            let stray = PMBPTR_EL1::read().bits().wrapping_add(1 << 40);
            // SAFETY: PMSCR_EL1 is 0 while it is paused: nothing is written to the stray address.
            unsafe { PMBPTR_EL1::from_bits(stray).write() };
            isb();
            bench.stop(0);
            hold!(bench.is_off());
            hold!(bench.ring.bytes.get() == 0);
            hold!(bench.ring.flags.get() & TRUNCATED != 0);
            hold!(
                bench.counted(Counter::StrayPointer) == 1 && bench.counted(Counter::Truncated) == 1
            );
            Ok(())
        }));
    }

    #[test]
    fn one_event_at_a_time() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            hold!(!bench.start(1));
            hold!(
                bench.counted(Counter::StartBusy) == 1 && bench.counted(Counter::StartOffline) == 0
            );
            hold!(bench.event(1).is_stopped());
            hold!(bench.is_sampling());
            bench.stop(1);
            hold!(bench.is_sampling());
            // Once more is no other thing.
            hold!(bench.start(0));
            hold!(bench.is_sampling() && bench.ring.begun.get() == 1);
            bench.stop(0);
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.ended.get() == 1);
            hold!(bench.start(1));
            bench.stop(1);
            Ok(())
        }));
    }

    #[test]
    fn pauses_and_resumes() {
        assert!(run(|bench| {
            let event = bench.event(0);
            event.set_paused(true);
            hold!(bench.start(0));
            hold!(PMSCR_EL1::read().bits() == 0 && !event.is_stopped());
            bench.pause(false);
            hold!(bench.is_sampling());
            bench.pause(true);
            let at = pointer();
            hold!(!work(|| pointer() != at));
            bench.stop(0);
            hold!(bench.is_off());
            // Neither has an effect on a unit that is off.
            bench.pause(false);
            bench.pause(true);
            hold!(bench.is_off());
            Ok(())
        }));
    }

    /// A throttled event keeps its transaction, and runs again after a start.
    #[test]
    fn throttled_and_started_again() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            for _ in 0..3 {
                bench.throttle();
                hold!(bench.at() == Some(At::Throttled));
                let at = pointer();
                hold!(!work(|| pointer() != at));
                hold!(bench.start(0));
                hold!(bench.is_sampling() && bench.ring.begun.get() == 1);
                hold!(work(|| pointer() > at));
            }
            bench.throttle();
            bench.stop(0);
            hold!(bench.is_off());
            hold!(bench.ring.ended.get() == 1 && bench.ring.bytes.get() > 0);
            Ok(())
        }));
    }

    /// An NMI in the middle of a start.
    #[test]
    fn start_interrupted_by_an_nmi() {
        assert!(run(|bench| {
            bench.ring.nmi.set(Nmi::Throttle);
            hold!(bench.start(0));
            hold!(bench.at() == Some(At::Throttled));
            hold!(bench.start(0));
            hold!(bench.is_sampling());
            bench.stop(0);

            bench.ring.nmi.set(Nmi::Pause);
            hold!(bench.start(0));
            hold!(bench.at() == Some(At::Paused));
            bench.pause(false);
            hold!(bench.is_sampling());
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.begun.get() == bench.ring.ended.get());
            Ok(())
        }));
    }

    /// An NMI in the middle of the interrupt handler.
    #[test]
    fn handler_interrupted_by_an_nmi() {
        assert!(run(|bench| {
            for (nmi, at) in [(Nmi::Throttle, At::Throttled), (Nmi::Pause, At::Paused)] {
                bench.ring.head.set(0);
                bench.ring.wakeup.set(PAGE_SIZE as u64);
                bench.ring.space.set(PAGE_SIZE as u64);
                hold!(bench.start(0));
                hold!(work_until_service());
                bench.ring.space.set(SIZE / 2);
                bench.ring.nmi.set(nmi);
                hold!(bench.serve());
                hold!(!bench.ring.enabled.get() && bench.at() == Some(at));
                bench.event(0).set_paused(false);
                bench.stop(0);
                hold!(bench.is_off());
            }
            Ok(())
        }));
    }

    /// A collision is flagged, and the event goes on.
    #[test]
    fn a_collision_before_the_interrupt() {
        assert!(run(|bench| {
            bench.ring.space.set(2 * PAGE_SIZE as u64);
            hold!(bench.start(0));
            hold!(work_until_service());
            // SAFETY: S stays set, so that the unit is stopped. COLL is a status bit: it neither
            // enables the unit nor moves the pointer.
            unsafe { PMBSR_EL1::read().with(PMBSR_EL1::COLL, 1).write() };
            isb();
            bench.ring.space.set(SIZE - 1);
            hold!(bench.serve());
            hold!(bench.is_sampling());
            hold!(bench.ring.flags.get() == COLLISION);
            bench.stop(0);
            Ok(())
        }));
    }

    /// A collision without a request for service is flagged for this event only.
    #[test]
    fn a_collision() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            // SAFETY: COLL is a status bit: it neither enables the unit nor moves the pointer.
            unsafe { PMBSR_EL1::default().with(PMBSR_EL1::COLL, 1).write() };
            isb();
            bench.stop(0);
            hold!(bench.is_off());
            hold!(bench.ring.flags.get() == COLLISION);
            hold!(bench.counted(Counter::Collision) == 1 && bench.counted(Counter::Partial) == 0);
            hold!(bench.start(0));
            bench.stop(0);
            hold!(bench.ring.flags.get() == 0);
            Ok(())
        }));
    }

    /// What the unit reports while it is off is not flagged for the next event, and does not keep
    /// that event from being sampled.
    #[test]
    fn reports_while_off() {
        assert!(run(|bench| {
            for (pmbsr, counter) in [
                (
                    PMBSR_EL1::default().with(PMBSR_EL1::COLL, 1),
                    Counter::Collision,
                ),
                (
                    PMBSR_EL1::from_bits(0x24 << 26).with(PMBSR_EL1::S, 1),
                    Counter::Truncated,
                ),
            ] {
                // All was read.
                bench.ring.space.set(SIZE - 1);
                // SAFETY: The buffer is disabled: a status does not enable it.
                unsafe { pmbsr.write() };
                hold!(bench.start(0));
                hold!(bench.is_sampling() && PMBSR_EL1::read().bits() == 0);
                hold!(work_until_service());
                bench.stop(0);
                hold!(bench.is_off() && bench.ring.flags.get() == 0);
                hold!(bench.counted(counter) == 0);
            }
            hold!(bench.counted(Counter::FaultStage1) == 1);
            Ok(())
        }));
    }

    #[test]
    fn discards() {
        let mut attr = kernel_only();
        attr.config |= 1 << 35;
        assert!(run_with(&attr, false, |bench| {
            hold!(bench.start(0));
            hold!(bench.is_sampling());
            hold!(PMBLIMITR_EL1::read().get(PMBLIMITR_EL1::FM) == FM_DISCARD);
            hold!(!work_until_service());
            // Discarding, a full buffer means nothing.
            bench.interrupt(1);
            hold!(bench.is_sampling() && PMBSR_EL1::read().bits() == 0);
            hold!(bench.ring.disabled.get() == 0);
            // There is no transaction that could have flags for a fault.
            let fault = PMBSR_EL1::default()
                .with(PMBSR_EL1::S, 1)
                .with(PMBSR_EL1::EC, 0x24);
            // SAFETY: The unit discards: it writes nothing, whatever this register says.
            unsafe { fault.write() };
            hold!(bench.serve());
            hold!(bench.is_off() && bench.ring.begun.get() == 0);
            hold!(bench.ring.disabled.get() == 1);
            Ok(())
        }));
    }

    /// A snapshot buffer is written by halves, without end.
    #[test]
    fn snapshots() {
        assert!(run_with(&kernel_only(), true, |bench| {
            hold!(bench.start(0));
            for _ in 0..4 {
                hold!(work_until_service());
                let (end, limit) = (pointer(), PMBLIMITR_EL1::read());
                bench.ring.space.set(SIZE);
                hold!(bench.serve());
                hold!(bench.is_sampling());
                // The other half, from where the first one ended.
                hold!(PMBLIMITR_EL1::read() != limit);
                let round = end
                    .wrapping_add(SIZE)
                    .wrapping_sub(PMBPTR_EL1::read().bits());
                hold!(round % SIZE < 0x1000 || round % SIZE > SIZE - 0x1000);
            }
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.flags.get() == 0);
            Ok(())
        }));
    }

    #[test]
    fn offline_and_online() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            bench.offline();
            hold!(bench.is_off() && bench.ring.ended.get() == 1);
            hold!(!bench.start(0));
            hold!(
                bench.counted(Counter::StartOffline) == 1 && bench.counted(Counter::StartBusy) == 0
            );
            hold!(bench.is_off());
            bench.stop(0);
            bench.online();
            hold!(bench.start(0));
            hold!(bench.is_sampling());
            bench.stop(0);
            Ok(())
        }));
    }

    /// Each check of `state_check.rs` fails when registers or `hw.state` are changed behind its
    /// back.
    #[cfg(ARM_SPE_DEBUG)]
    #[test]
    fn mismatches_are_seen() {
        // Only user space would be sampled: the unit writes nothing here.
        let attr = EventAttr {
            exclude_kernel: true,
            ..EventAttr::default()
        };
        assert!(run_with(&attr, false, |bench| {
            let event = bench.event(0);
            let pmscr = &bench.config.pmscr;

            hold!(!wrong(bench));
            hold!(bench.start(0));
            let (limit, pointer) = (PMBLIMITR_EL1::read(), PMBPTR_EL1::read());
            hold!(!wrong(bench));
            PMSCR_EL1::clear();
            hold!(wrong(bench));
            pmscr.write();
            event.set_paused(true);
            hold!(wrong(bench));
            event.set_paused(false);
            event.throttle();
            hold!(wrong(bench));
            hold!(bench.start(0));
            hold!(!wrong(bench));

            // SAFETY: A disabled buffer is not written to.
            unsafe { limit.with(PMBLIMITR_EL1::E, 0).write() };
            hold!(wrong(bench));
            // SAFETY: The event samples EL0 alone, and this CPU stays at EL1 until the case has
            // disabled the unit: nothing is written, wherever the registers point to.
            unsafe {
                let less = limit.get(PMBLIMITR_EL1::LIMIT) - 1;
                limit.with(PMBLIMITR_EL1::LIMIT, less).write();
            }
            hold!(wrong(bench));
            // SAFETY: As above: nothing is sampled, and so nothing written to the page before the
            // buffer.
            unsafe {
                PMBLIMITR_EL1::clear();
                PMBPTR_EL1::from_bits(pointer.bits() - 0x1000).write();
                limit.write();
            }
            hold!(wrong(bench));
            // SAFETY: These are the values that the driver has written for its buffer.
            unsafe {
                PMBLIMITR_EL1::clear();
                pointer.write();
                limit.write();
            }
            hold!(!wrong(bench));
            bench.cpu.gate.close();
            pmscr.write();
            hold!(wrong(bench));
            bench.stop(0);
            hold!(!wrong(bench));

            pmscr.write();
            hold!(wrong(bench));
            PMSCR_EL1::clear();
            // SAFETY: PMSCR_EL1 was cleared in the line before: nothing is sampled into the buffer.
            unsafe { limit.write() };
            hold!(wrong(bench));
            // SAFETY: A disabled buffer is not written to.
            unsafe { PMBLIMITR_EL1::clear() };
            let active = event.activate();
            bench.cpu.gate.open(&active);
            PMSCR_EL1::clear();
            hold!(wrong(bench));
            bench.cpu.gate.close();
            hold!(!wrong(bench));
            Ok(())
        }));
    }

    /// Returns whether a transition that changes nothing finds a mismatch: a stop of an event that
    /// does not run.
    #[cfg(ARM_SPE_DEBUG)]
    fn wrong(bench: &Bench) -> bool {
        let before = bench.counted(Counter::Mismatches);
        isb();
        bench.stop(1);
        bench.counted(Counter::Mismatches) != before
    }
}
