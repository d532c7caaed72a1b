# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# LLVM's BOLT for this machine, of the first version that Debian 13 has with `perf2bolt --spe`. It takes its libraries
# from the build root.

bolt_packages() { with_dependencies amd64 bolt-22 | grep -vxFf <(with_dependencies amd64 "${ROOT_PACKAGES[@]}"); }

build_bolt() {
	local out=$1
	fetch_with_dependencies amd64 bolt-22
	bolt_packages | unpack "$out"
	enter_root "$ROOT" "$out/usr/lib/llvm-22/bin/perf2bolt" --version
}

want_bolt() {
	want_root
	step bolt build_bolt -- "$(bolt_packages)" "$(declare -f unpack)"
	export ARM_SPE_BOLT=$result/usr/lib/llvm-22/bin
}
