# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# UEFI firmware for the guest: with it, ACPI tables describe the machine instead of the device tree.

build_uefi() {
	local out=$1
	fetch_alone amd64 qemu-efi-aarch64
	alone amd64 qemu-efi-aarch64 | unpack "$out/packages"
	mv "$out/packages/usr/share/qemu-efi-aarch64/QEMU_EFI.fd" "$out/"
	rm -rf "$out/packages"
}

want_uefi() {
	want_root
	step uefi build_uefi -- "$(alone amd64 qemu-efi-aarch64)"
	export ARM_SPE_UEFI=$result/QEMU_EFI.fd
}
