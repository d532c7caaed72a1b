# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# perf of the guest kernel's version for this machine, which decodes traces faster than the guest. It is beside
# the build root, with the libraries that the root does not have.

perf_packages() { with_dependencies amd64 linux-perf | grep -vxFf <(with_dependencies amd64 "${ROOT_PACKAGES[@]}"); }

build_perf() {
	local out=$1
	fetch_with_dependencies amd64 linux-perf
	perf_packages | unpack "$out"
	rm -rf "${out:?}/usr/share"
	# shellcheck disable=SC2016 # for the script
	printf '#!/bin/sh\n%s\n' 'exec env LD_LIBRARY_PATH="${0%/*}/usr/lib/x86_64-linux-gnu" "${0%/*}/usr/bin/perf" "$@"' >"$out/perf"
	chmod +x "$out/perf"
	enter_root "$ROOT" "$out/perf" version
}

want_perf() {
	want_root
	step perf build_perf -- "$(perf_packages)" "$(declare -f unpack)"
	export ARM_SPE_PERF=$result/perf
}
