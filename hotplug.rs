// SPDX-License-Identifier: GPL-2.0

//! What happens to a profiling unit when its CPU comes and goes.
//!
//! C header: `include/linux/cpuhotplug.h`

use crate::{
    irq::Units,
    state::{
        Slot,
        SpePmu, //
    }, //
};
use core::{
    marker::PhantomData,
    sync::atomic::{
        AtomicI32,
        Ordering, //
    }, //
};
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// The number of our state in the machine of CPU hotplug.
static STATE: AtomicI32 = AtomicI32::new(0);

/// The registration of the callbacks, one for the module.
///
/// # Invariants
///
/// [`STATE`] is the number of a state that was set up and not removed.
pub(crate) struct Callbacks<T: SpePmu>(PhantomData<fn(T)>);

impl<T: SpePmu> Callbacks<T> {
    /// Registers the callbacks. Nothing happens before there is an [`Instance`].
    pub(crate) fn register(name: &'static CStr) -> Result<Self> {
        // SAFETY: The C function takes callbacks of both kinds through the same type; of a state
        // with instances it calls them with the CPU and the instance.
        let (startup, teardown) = unsafe {
            (
                core::mem::transmute::<MultiCallback, SingleCallback>(Instance::<T>::startup),
                core::mem::transmute::<MultiCallback, SingleCallback>(Instance::<T>::teardown),
            )
        };
        // SAFETY: The callbacks live as long as the module, and the state is removed before.
        let state = unsafe {
            bindings::__cpuhp_setup_state(
                bindings::cpuhp_state_CPUHP_AP_ONLINE_DYN,
                name.as_char_ptr(),
                false,
                Some(startup),
                Some(teardown),
                true,
            )
        };
        // A dynamic state's number is returned.
        to_result(state.min(0))?;
        STATE.store(state, Ordering::Relaxed);
        // INVARIANT: just done.
        Ok(Self(PhantomData))
    }
}

impl<T: SpePmu> Drop for Callbacks<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariants; there are no instances any more, since these go with their
        // devices.
        unsafe { bindings::__cpuhp_remove_state(state(), false) };
    }
}

/// [`STATE`], as C wants it.
#[inline]
fn state() -> bindings::cpuhp_state {
    STATE.load(Ordering::Relaxed) as bindings::cpuhp_state
}

/// A callback of a state without instances: it gets the CPU.
type SingleCallback = unsafe extern "C" fn(c_uint) -> c_int;
/// A callback of a state with instances: it gets the CPU and the instance.
type MultiCallback = unsafe extern "C" fn(c_uint, *mut bindings::hlist_node) -> c_int;

/// The units of one device are ready on all of its CPUs that are online. Dropping this turns them
/// off.
///
/// # Invariants
///
/// `node` is in the list of instances of our state.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub(crate) struct Instance<T: SpePmu> {
    /// What the hotplug machine knows the instance by. It is the first field: callbacks find the
    /// others through it.
    #[pin]
    node: Opaque<bindings::hlist_node>,
    /// The units that are made ready.
    units: Arc<Units<T>>,
}

// SAFETY: The node is only touched by the C functions, which take a lock.
unsafe impl<T: SpePmu> Send for Instance<T> {}

// SAFETY: As above.
unsafe impl<T: SpePmu> Sync for Instance<T> {}

impl<T: SpePmu> Instance<T> {
    /// Makes `units` ready, now and whenever one of their CPUs comes online.
    pub(crate) fn new(units: Arc<Units<T>>) -> impl PinInit<Self, Error> {
        let init = move |slot: *mut Self| -> Result {
            // SAFETY: `slot` may be written to. The callbacks run as soon as the instance is added:
            // all is in place then.
            unsafe {
                (&raw mut (*slot).units).write(units);
                let node = Opaque::cast_into(&raw const (*slot).node);
                node.write(bindings::hlist_node::default());
                let added = to_result(bindings::__cpuhp_state_add_instance(state(), node, true));
                if added.is_err() {
                    (&raw mut (*slot).units).drop_in_place();
                }
                added
            }
        };
        // SAFETY: `init` initialises all fields, or drops what it has initialised and returns an
        // error. The value does not move afterwards.
        // INVARIANT: the instance was added.
        unsafe { pin_init::pin_init_from_closure(init) }
    }

    /// # Safety
    ///
    /// `node` must be that of an instance, and the caller the hotplug machine, on the CPU that
    /// comes.
    unsafe extern "C" fn startup(cpu: c_uint, node: *mut bindings::hlist_node) -> c_int {
        // SAFETY: The node is the first field of the instance.
        let units = unsafe { &(*node.cast::<Self>()).units };
        if !units.cover(cpu) {
            return 0;
        }
        match units.run_on(cpu, |slot| slot.online(units.mark())) {
            Ok(()) => units.enable_interrupt(),
            Err(err) => return err.to_errno(),
        }
        0
    }

    /// # Safety
    ///
    /// `node` must be that of an instance, and the caller the hotplug machine, on the CPU that
    /// goes.
    unsafe extern "C" fn teardown(cpu: c_uint, node: *mut bindings::hlist_node) -> c_int {
        // SAFETY: The node is the first field of the instance.
        let units = unsafe { &(*node.cast::<Self>()).units };
        if !units.cover(cpu) {
            return 0;
        }
        units.disable_interrupt();
        // perf takes its events off the CPU only after this. They find a unit that is off by then.
        match units.run_on(cpu, Slot::offline) {
            Ok(()) => 0,
            Err(err) => err.to_errno(),
        }
    }
}

#[pinned_drop]
impl<T: SpePmu> PinnedDrop for Instance<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the invariants. This calls `teardown` on all CPUs that are online.
        unsafe { bindings::__cpuhp_state_remove_instance(state(), self.node.get(), true) };
    }
}
