// SPDX-License-Identifier: GPL-2.0

//! The AUX transaction of a unit: begun with a handle, ended once, which gives the handle back. The
//! buffer is out of reach without a transaction, and afterwards.

use crate::{
    aux_buffer::{
        BeginError,
        Buffer,
        Span,
        Spe,
        Transaction, //
    },
    perf::{
        ActiveEvent,
        AuxFlags,
        AuxHandle,
        AuxTransaction, //
    }, //
};

fn correct(handle: AuxHandle<Spe>, event: &ActiveEvent<Spe>) -> AuxHandle<Spe> {
    match Transaction::begin(handle, event) {
        Ok(transaction) => {
            let span = transaction.span();
            let bytes = span.written(span.limit).unwrap_or(0);
            transaction.end(bytes, AuxFlags::COLLISION)
        }
        Err((handle, _)) => handle,
    }
}

/// The buffer written to after the transaction.
#[cfg(misuse = "span_after_end")]
fn misuse(transaction: Transaction) -> Span {
    transaction.end(0, AuxFlags::NONE).free();
    transaction.span() //~ E0382 borrow of moved value: `transaction`
}

/// A transaction ended twice.
#[cfg(misuse = "end_twice")]
fn misuse(transaction: Transaction) {
    transaction.end(0, AuxFlags::NONE).free();
    transaction.end(0, AuxFlags::NONE).free(); //~ E0382 use of moved value: `transaction`
}

/// As above, by ending what it wraps.
#[cfg(misuse = "end_inside")]
fn misuse(transaction: Transaction) {
    transaction.aux.end(0).free(); //~ E0616 field `aux` of struct
}

/// A transaction ended without flags for its data.
#[cfg(misuse = "end_without_flags")]
fn misuse(transaction: Transaction) {
    transaction.end(0).free(); //~ E0061 this method takes 2 arguments but 1 argument was supplied
}

/// A transaction that is never ended.
#[cfg(misuse = "drop_transaction")]
fn misuse(begin: fn() -> Transaction) {
    begin(); //~ unused_must_use Transaction` that must be used
}

/// A handle that a transaction gives back, lost: its CPU could begin no other.
#[cfg(misuse = "drop_handle")]
fn misuse(transaction: Transaction) {
    transaction.end(0, AuxFlags::NONE); //~ unused_must_use AuxHandle` that must be used
}

/// A reason of a failed begin that is not dealt with.
#[cfg(misuse = "always_a_buffer")]
fn misuse(error: BeginError) -> bool {
    match error {
        //~^ E0004 `BeginError::NoBuffer(_)` not covered
        BeginError::NoSpace { truncated } => truncated,
    }
}

/// A transaction whose range nothing has checked.
#[cfg(misuse = "forge_transaction")]
fn misuse(aux: AuxTransaction<Spe>, span: Span) -> Transaction {
    Transaction {
        aux,  //~ E0451 field `aux` of struct
        span, //~ E0451 field `span` of struct
    }
}

/// As above.
#[cfg(misuse = "choose_span")]
fn misuse(aux: AuxTransaction<Spe>) -> Transaction {
    Transaction::new(aux, 0, 1 << 30) //~ E0624 associated function `new` is private
}

/// The range of a transaction made larger.
#[cfg(misuse = "move_limit")]
fn misuse(transaction: &mut Transaction) {
    transaction.span.limit = u64::MAX; //~ E0616 field `span` of struct
}

/// A buffer that is not mapped.
#[cfg(misuse = "forge_buffer")]
fn misuse(base: core::ptr::NonNull<u8>, layout: crate::buffer_limit::BufferLayout) -> Buffer {
    Buffer {
        base,            //~ E0451 field `base` of struct
        layout,          //~ E0451 field `layout` of struct
        snapshot: false, //~ E0451 field `snapshot` of struct
    }
}

/// The addresses of a buffer without a transaction in it.
#[cfg(misuse = "address_without_transaction")]
fn misuse(buffer: &Buffer) -> u64 {
    buffer.address(0) //~ E0624 method `address` is private
}
