# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# QEMU from the distribution's source: with FEAT_SPE (tests/qemu/), the same with sanitizers, or without, for
# comparison. And the source itself, for mutations.

qemu_source() { apt_ask amd64 apt-get source -qq --print-uris "qemu/$SUITE" | awk '{ print $2, $4 }'; }

# The unchanged files that the patches for QEMU change, and its checker, for tests of the patches. And the header for
# plugins.
build_qemu_touched() {
	local out=$1 file
	(cd "$CACHE/apt/archives" && apt-get -c "$CACHE/apt/amd64.conf" -q source --download-only "qemu/$SUITE")
	file=$(qemu_source | awk '/\.orig\.tar\./ { print $1 }')
	# shellcheck disable=SC2016 # for the inner shell
	WORKDIR=$out enter_root "$ROOT" bash -euo pipefail -c '
		tar --no-same-owner -xf "$1" --strip-components=1 --wildcards --no-wildcards-match-slash \
			"*/VERSION" "*/MAINTAINERS" "*/docs/system" "*/hw/arm" "*/include/hw/arm" "*/target/arm" "*/scripts/checkpatch.pl" \
			"*/include/qemu/qemu-plugin.h"' \
		tar "$CACHE/apt/archives/$file"
}

want_qemu_touched() {
	want_root
	step qemu-touched build_qemu_touched -- "$(qemu_source)"
	export ARM_SPE_QEMU_TOUCHED=$result
}

unpack_qemu() {
	local out=$1 file
	(cd "$CACHE/apt/archives" && apt-get -c "$CACHE/apt/amd64.conf" -q source --download-only "qemu/$SUITE")
	mkdir "$out/source"
	while read -r file _; do
		case $file in
		*.orig.tar.*) WORKDIR=$out enter_root "$ROOT" tar --no-same-owner -xf "$CACHE/apt/archives/$file" -C source --strip-components=1 ;;
		*.debian.tar.*) WORKDIR=$out enter_root "$ROOT" tar --no-same-owner -xf "$CACHE/apt/archives/$file" -C source ;;
		esac
	done < <(qemu_source)
}

build_qemu() {
	local out=$1 variant=$2
	unpack_qemu "$out"
	mkdir "$out/built"
	WORKDIR=$out enter_root "$ROOT" "$TOP/tests/qemu/build.sh" "$out/source" "$out/built" ${variant:+"$variant"}
	# The QMP library of the same version, and the style checker.
	mkdir "$out/built/python" "$out/built/scripts"
	cp -r "$out/source/python/qemu" "$out/built/python/"
	cp "$out/source/scripts/checkpatch.pl" "$out/built/scripts/"
	rm -rf "$out/source"
}

QEMU_BUILT_WITH='(gcc-14|libc6-dev|libglib2.0-dev|libpixman-1-dev|libfdt-dev|meson)'

# Directories of other builds, named by the user.
given_qemu=${ARM_SPE_QEMU:-}
given_qemu_sanitized=${ARM_SPE_QEMU_SANITIZED:-}
given_qemu_unpatched=${ARM_SPE_QEMU_UNPATCHED:-}

qemu_inputs() {
	qemu_source
	(cd "$TOP" && files_hash tests/qemu/{build.sh,patches,*.[ch]})
	root_versions "$QEMU_BUILT_WITH"
}

want_qemu() {
	want_root
	[ -z "$given_qemu" ] || return 0
	step qemu build_qemu "" -- "$(qemu_inputs)"
	export ARM_SPE_QEMU=$result/built
}

# It takes longer to build, and runs at a third of the speed: only for `make qemu-fuzz`.
want_qemu_sanitized() {
	want_root
	[ -z "$given_qemu_sanitized" ] || return 0
	step qemu-sanitized build_qemu --sanitize -- "$(qemu_inputs)"
	export ARM_SPE_QEMU_SANITIZED=$result/built
}

want_qemu_unpatched() {
	want_root
	[ -z "$given_qemu_unpatched" ] || return 0
	step qemu-unpatched build_qemu --unpatched -- "$(qemu_source)" "$(files_hash tests/qemu/build.sh)" \
		"$(root_versions "$QEMU_BUILT_WITH")"
	export ARM_SPE_QEMU_UNPATCHED=$result/built
}

want_qemu_source() {
	want_root
	step qemu-source unpack_qemu -- "$(qemu_source)"
	export ARM_SPE_QEMU_SOURCE=$result/source
}
