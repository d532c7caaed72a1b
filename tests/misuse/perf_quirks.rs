// SPDX-License-Identifier: GPL-2.0

//! Work-arounds for perf: only a tag that no other pointer can seem to have, and only boxes that
//! are in one list.

use crate::{
    aux_buffer::Spe,
    perf::ActiveEvent,
    perf_quirks::{
        Deferrable,
        Deferred,
        NoSpace,
        OwnerTag, //
    },
};
use core::ptr::NonNull;
use kernel::prelude::*;

static DEFERRED: Deferred<u64> = Deferred::new();

fn correct(value: u64) -> Result<bool> {
    let entry = KBox::new(Deferrable::new(value), GFP_KERNEL)?;
    let (tag, pointer) = (OwnerTag::new(1), NonNull::from(&*entry));
    let ours = tag.untag(tag.tag(pointer)) == Some(pointer);
    DEFERRED.free(entry);
    Ok(ours)
}

/// A tag that a C driver's pointer can seem to have.
#[cfg(misuse = "forge_tag")]
fn misuse() -> OwnerTag {
    OwnerTag(2) //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// A box that is said to be in a list.
#[cfg(misuse = "forge_entry")]
fn misuse(value: u64, next: *mut Deferrable<u64>) -> Deferrable<u64> {
    Deferrable {
        value, //~ E0451 field `value` of struct
        next,  //~ E0451 field `next` of struct
    }
}

/// A list of something else than boxes.
#[cfg(misuse = "forge_list")]
fn misuse(head: *mut Deferrable<u64>) -> Deferred<u64> {
    Deferred(kernel::sync::atomic::Atomic::new(head))
    //~^ E0423 cannot initialize a tuple struct which contains private fields
}

/// A box in a list twice.
#[cfg(misuse = "free_twice")]
fn misuse(entry: KBox<Deferrable<u64>>) {
    DEFERRED.free(entry);
    DEFERRED.free(entry); //~ E0382 use of moved value: `entry`
}

/// A limit that holds for any event.
#[cfg(misuse = "change_no_space")]
fn misuse(no_space: &mut NoSpace) {
    no_space.limited = true; //~ E0616 field `limited` of struct
}

/// A list of what is for one CPU alone: any CPU may free it.
#[cfg(misuse = "defer_what_is_local")]
static LOCAL: Deferred<ActiveEvent<Spe>> = Deferred::new();
//~^ E0277 cannot be sent between threads safely
