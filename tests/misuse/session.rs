// SPDX-License-Identifier: GPL-2.0

//! A session in the AUX buffer: begun for an event on this CPU, ended once, and nothing of the
//! buffer is in reach without one, or afterwards.

use crate::{
    aux_buffer::{
        Buffer,
        NoSession,
        Session,
        Span, //
    },
    percpu::run_on,
    perf::{
        AuxFlags,
        AuxHandle,
        AuxPlace,
        AuxSession,
        Event,
        Held,
        NoBuffer, //
    },
    pmu::Spe,
};

fn correct<'a>(
    handle: AuxHandle<'a, Spe>,
    event: Held<Spe>,
) -> Result<AuxHandle<'a, Spe>, (AuxHandle<'a, Spe>, NoSession)> {
    let (mut session, _overwritten) = Session::begin(handle, event)?;
    let Span { limit, .. } = session.span();
    session.flag(AuxFlags::COLLISION);
    let bytes = session.span().written(limit).unwrap_or(0);
    Ok(session.end(bytes))
}

fn correct_in_perf<'a>(
    place: &'a AuxPlace,
    event: Held<Spe>,
) -> Result<AuxHandle<'a, Spe>, (AuxHandle<'a, Spe>, NoBuffer)> {
    // SAFETY: The only handle of the place.
    let handle = unsafe { AuxHandle::new(place) };
    let mut session = handle.begin(event)?;
    let _buffer: &Buffer = session.aux();
    session.skip(session.space());
    Ok(session.end(0))
}

/// The buffer written to after the session.
#[cfg(misuse = "span_after_end")]
fn misuse(session: Session<Spe>) -> Span {
    let _handle = session.end(0);
    session.span() //~ E0382 borrow of moved value: `session`
}

/// Data marked that perf has already.
#[cfg(misuse = "flag_after_end")]
fn misuse(mut session: Session<Spe>) {
    let _handle = session.end(0);
    session.flag(AuxFlags::TRUNCATED); //~ E0382 borrow of moved value: `session`
}

/// A session ended twice.
#[cfg(misuse = "end_twice")]
fn misuse(session: Session<Spe>) {
    let _handle = session.end(0);
    let _again = session.end(0); //~ E0382 use of moved value: `session`
}

/// As above, by ending what it wraps.
#[cfg(misuse = "end_inside")]
fn misuse(session: Session<Spe>) {
    let _handle = session.0.end(0); //~ E0616 field `0` of struct
}

/// Nobody could begin another session on this CPU any more.
#[cfg(misuse = "drop_handle")]
fn misuse(session: Session<Spe>) {
    session.end(0); //~ unused_must_use AuxHandle` that must be used
}

/// Nobody could end the session any more.
#[cfg(misuse = "drop_session")]
fn misuse(begin: fn() -> Session<'static, Spe>) {
    begin(); //~ unused_must_use Session` that must be used
}

/// A session used that may not have begun.
#[cfg(misuse = "begin_never_fails")]
fn misuse(handle: AuxHandle<Spe>, event: Held<Spe>) -> Span {
    Session::begin(handle, event).span() //~ E0599 no method named `span` found
}

/// A session of an event that may be on any CPU, or none.
#[cfg(misuse = "begin_for_any_event")]
fn misuse(handle: AuxHandle<Spe>, event: &Event<Spe>) {
    let _session = Session::begin(handle, event); //~ E0308 mismatched types
}

/// A session that perf knows nothing of.
#[cfg(misuse = "forge_session")]
fn misuse(aux: AuxSession<Spe>) -> Session<Spe> {
    Session(aux) //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// The room of a session made larger.
#[cfg(misuse = "move_limit")]
fn misuse(session: &mut Session<Spe>) {
    session.0.set_span(0, u64::MAX); //~ E0616 field `0` of struct
}

/// Two owners of one session.
#[cfg(misuse = "clone_session")]
fn misuse<'a>(session: &Session<'a, Spe>) -> Session<'a, Spe> {
    session.clone() //~ E0308 mismatched types
}

/// A session ended on another CPU than the one that samples into it.
#[cfg(misuse = "session_elsewhere")]
fn misuse(session: Session<Spe>, cpu: u32) {
    let _nothing = run_on(cpu, move || drop(session.end(0))); //~ E0277 cannot be shared between threads safely
}

/// The buffer kept when the session is over: perf may free it.
#[cfg(misuse = "buffer_after_end")]
fn misuse(session: AuxSession<Spe>) {
    let buffer: &Buffer = session.aux();
    let _again = session.end(0); //~ E0505 cannot move out of `session` because it is borrowed
    let _size = core::mem::size_of_val(buffer);
}

/// As above, by returning it.
#[cfg(misuse = "return_buffer")]
fn misuse<'a>(handle: AuxHandle<'a, Spe>, event: Held<Spe>) -> Option<&'a Buffer> {
    let session = handle.begin(event).ok()?;
    Some(session.aux()) //~ E0515 cannot return value referencing local variable `session`
}

/// Room given back after the session.
#[cfg(misuse = "skip_after_end")]
fn misuse(mut session: AuxSession<Spe>) {
    let _handle = session.end(0);
    session.skip(64); //~ E0382 borrow of moved value: `session`
}

/// A session ended twice.
#[cfg(misuse = "end_twice_in_perf")]
fn misuse(session: AuxSession<Spe>) {
    let _handle = session.end(0);
    let _again = session.end(0); //~ E0382 use of moved value: `session`
}

/// A session ended by somebody who has only borrowed it.
#[cfg(misuse = "end_borrowed")]
fn misuse(session: &mut AuxSession<Spe>) {
    let _again = session.end(0); //~ E0507 cannot move out of `*session` which is behind a mutable reference
}

/// Nobody could begin another session on this CPU any more.
#[cfg(misuse = "drop_handle_in_perf")]
fn misuse(session: AuxSession<Spe>) {
    session.end(0); //~ unused_must_use AuxHandle` that must be used
}

/// Nobody could end the session any more.
#[cfg(misuse = "drop_session_in_perf")]
fn misuse(begin: fn() -> AuxSession<'static, Spe>) {
    begin(); //~ unused_must_use AuxSession` that must be used
}

/// perf's own handle, which could be ended behind the session's back.
#[cfg(misuse = "take_handle")]
fn misuse(session: &AuxSession<Spe>) -> *mut crate::bindings::perf_output_handle {
    session.as_raw() //~ E0624 method `as_raw` is private
}

/// A session that was never begun.
#[cfg(misuse = "forge_session_in_perf")]
fn misuse(handle: AuxHandle<Spe>) -> AuxSession<Spe> {
    AuxSession(handle) //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// A session resumed that nobody has left open.
#[cfg(misuse = "resume_without_promise")]
fn misuse(place: &AuxPlace) -> Session<Spe> {
    Session::resume(place) //~ E0133 call to unsafe function
}

/// As above.
#[cfg(misuse = "resume_without_promise_in_perf")]
fn misuse(place: &AuxPlace) -> AuxSession<Spe> {
    AuxSession::resume(place) //~ E0133 call to unsafe function
}

/// A session used that was left open for somebody else.
#[cfg(misuse = "flag_after_leaving")]
fn misuse(mut session: Session<Spe>) {
    session.leave_open();
    session.flag(AuxFlags::TRUNCATED); //~ E0382 borrow of moved value: `session`
}

/// Two sessions with one handle.
#[cfg(misuse = "begin_twice")]
fn misuse(handle: AuxHandle<Spe>, event: Held<Spe>) {
    let _first = handle.begin(event);
    let _second = handle.begin(event); //~ E0382 use of moved value: `handle`
}

/// Two handles where there is room for one.
#[cfg(misuse = "handle_without_promise")]
fn misuse(place: &AuxPlace) -> AuxHandle<Spe> {
    AuxHandle::new(place) //~ E0133 call to unsafe function
}

/// As above.
#[cfg(misuse = "clone_handle")]
fn misuse<'a>(handle: &AuxHandle<'a, Spe>) -> AuxHandle<'a, Spe> {
    handle.clone() //~ E0308 mismatched types
}

/// As above.
#[cfg(misuse = "forge_handle")]
fn misuse(place: &AuxPlace) -> AuxHandle<Spe> {
    AuxHandle(place, core::marker::PhantomData) //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// The handle of one CPU used by another.
#[cfg(misuse = "handle_elsewhere")]
fn misuse(handle: AuxHandle<Spe>, cpu: u32) {
    let _nothing = run_on(cpu, move || drop(handle)); //~ E0277 cannot be shared between threads safely
}

/// The room of a handle used by another CPU.
#[cfg(misuse = "place_elsewhere")]
fn misuse(place: &AuxPlace, cpu: u32) {
    let _size = run_on(cpu, || core::mem::size_of_val(place)); //~ E0277 cannot be shared between threads safely
}

/// Two owners of one session.
#[cfg(misuse = "clone_session_in_perf")]
fn misuse<'a>(session: &AuxSession<'a, Spe>) -> AuxSession<'a, Spe> {
    session.clone() //~ E0308 mismatched types
}

/// A session ended on another CPU than the one of its event.
#[cfg(misuse = "session_elsewhere_in_perf")]
fn misuse(session: AuxSession<Spe>, cpu: u32) {
    let _nothing = run_on(cpu, move || drop(session.end(0))); //~ E0277 cannot be shared between threads safely
}

/// A flag that perf sets itself.
#[cfg(misuse = "forge_flag")]
fn misuse(session: &mut Session<Spe>) {
    session.flag(AuxFlags(2)); //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// A mark that another PMU's buffer may seem to have.
#[cfg(misuse = "forge_mark")]
fn misuse(place: &crate::perf::AuxPlace) {
    place.set_mark(crate::perf::Mark(8)); //~ E0603 tuple struct constructor `Mark` is private
}

/// A buffer of memory of one's own choice.
#[cfg(misuse = "forge_buffer")]
fn misuse(base: core::ptr::NonNull<u8>, geometry: crate::offset::Geometry) -> Buffer {
    Buffer {
        base,                     //~ E0451 field `base` of struct
        geometry,                 //~ E0451 field `geometry` of struct
        circular: false,          //~ E0451 field `circular` of struct
        next: Default::default(), //~ E0451 field `next` of struct
    }
}

/// The addresses of a buffer without a session in it.
#[cfg(misuse = "address_without_session")]
fn misuse(buffer: &Buffer) -> u64 {
    buffer.address(0) //~ E0624 method `address` is private
}

/// A buffer zeroed without a session in it.
#[cfg(misuse = "clear_without_session")]
fn misuse(buffer: &Buffer) {
    buffer.clear(0, 1 << 30); //~ E0624 method `clear` is private
}
