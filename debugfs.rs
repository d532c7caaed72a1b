// SPDX-License-Identifier: GPL-2.0

//! The counters in debugfs: `/sys/kernel/debug/arm_spe_N/cpuM`, one counter per line.
//!
//! The files of `kernel::debugfs` have no owner: one that is open when the module is unloaded would
//! be released by code that is gone (`docs/upstream.md`).

use crate::{
    counters::Counters,
    device::Units,
    helpers::THIS_MODULE, //
};
use core::ptr;
use kernel::{
    bindings::{
        debugfs_create_dir,
        debugfs_create_file_full,
        debugfs_remove,
        dentry,
        file,
        file_operations,
        inode,
        seq_file,
        seq_lseek,
        seq_printf,
        seq_read,
        single_open,
        single_release, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// The files of a device, which are removed when this is dropped.
pub(crate) struct Files {
    /// An error pointer if debugfs is disabled, which its functions accept.
    directory: *mut dentry,
    /// The owner of the counters.
    _units: Arc<Units>,
}

// SAFETY: debugfs may be used from any thread.
unsafe impl Send for Files {}

// SAFETY: A shared reference gives access to nothing.
unsafe impl Sync for Files {}

impl Files {
    /// Creates the files of the PMU `name`, one for each CPU of `units`.
    pub(crate) fn new(units: Arc<Units>, name: &CStr) -> Self {
        // SAFETY: A valid string, below the root of debugfs.
        let directory = unsafe { debugfs_create_dir(name.as_char_ptr(), ptr::null_mut()) };
        for (cpu, counters) in units.counters() {
            // Without memory for the name this file is missing, which nothing depends on.
            if let Ok(name) = CString::try_from_fmt(fmt!("cpu{}", cpu)) {
                let counters = ptr::from_ref(counters).cast_mut().cast();
                // SAFETY: What is passed outlives the file; the name is copied.
                unsafe {
                    debugfs_create_file_full(
                        name.as_char_ptr(),
                        0o400,
                        directory,
                        counters,
                        ptr::null(),
                        &raw const OPERATIONS.0,
                    )
                };
            }
        }
        Self {
            directory,
            _units: units,
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // SAFETY: Created in `new`. This waits for readers.
        unsafe { debugfs_remove(self.directory) };
    }
}

/// The operations of a file, which references the module while it is open.
static OPERATIONS: Operations = Operations(file_operations {
    owner: THIS_MODULE,
    open: Some(open),
    read: Some(seq_read),
    llseek: Some(seq_lseek),
    release: Some(single_release),
    ..pin_init::zeroed()
});

struct Operations(file_operations);

// SAFETY: The operations are not written to.
unsafe impl Sync for Operations {}

/// # Safety
///
/// Must be called by debugfs, for a file that was created with [`Counters`].
unsafe extern "C" fn open(inode: *mut inode, file: *mut file) -> c_int {
    // SAFETY: debugfs passes both, with what the file was created with.
    unsafe { single_open(file, Some(show), (*inode).i_private) }
}

/// # Safety
///
/// Must be called for a file that [`open`] has opened.
unsafe extern "C" fn show(seq: *mut seq_file, _: *mut c_void) -> c_int {
    // SAFETY: What `open` has passed: the counters, which outlive the file.
    let counters = unsafe { &*(*seq).private.cast::<Counters>() };
    for (name, count) in counters.all() {
        // SAFETY: The format takes a string and 64 bits.
        unsafe { seq_printf(seq, c"%s %llu\n".as_char_ptr(), name.as_char_ptr(), count) };
    }
    0
}
