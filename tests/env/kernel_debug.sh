# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A debug kernel from the source package of the stock kernel: KUnit, KASAN, lockdep, kmemleak and fault injection, and
# nothing that the tests do not need (debug.config, kasan.config). Its image, the C driver as a module, and the tree for
# building other modules are kept. The same with KCSAN in the place of KASAN.

build_kernel_debug() {
	local out=$1 source=$2 sanitizer=$3
	fetch_alone arm64 "$source"
	alone arm64 "$source" | unpack "$out/packages"
	echo "unpacking the kernel source"
	WORKDIR=$out enter_root "$ROOT" bash -c 'tar --no-same-owner -xf packages/usr/src/linux-source-*.tar.xz'
	mv "$out"/linux-source-* "$out/source"
	rm -rf "$out/packages"
	WORKDIR=$out enter_root "$ROOT" "$TOP/tests/env/build-debug-kernel" "$sanitizer"
	rm -rf "$out/source"
}

# want_with STEP SANITIZER
want_with() {
	want_root
	kernel_resolve arm64
	local source=${kernel_packages[-1]}
	step "$1" build_kernel_debug "$source" "$2" \
		-- "$(alone arm64 "$source")" "$(files_hash tests/env/{build-debug-kernel,debug.config,"$2.config"})" \
		"$(root_versions '(rustc|rust-src|bindgen|libclang1-19|clang-19|lld-19|llvm-19)')"
}

want_kernel_debug() {
	want_with kernel-debug kasan
	export ARM_SPE_KERNEL_DEBUG=$result
}

want_kernel_kcsan() {
	want_with kernel-kcsan kcsan
	export ARM_SPE_KERNEL_KCSAN=$result
}
