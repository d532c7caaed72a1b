# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The guest's initramfs: perf of the guest kernel's version and a shell. The module, the programs and the files of a
# scenario are appended to it at each boot, so that this part is made once. It is not compressed: decompressing takes a
# guest seconds, or half a minute with KASAN.

GUEST_PACKAGES=(
	linux-perf bash busybox-static coreutils diffutils findutils grep mawk sed
	kexec-tools kmod libc-bin util-linux
)

build_guest() {
	local root=$1/root lib
	fetch_with_dependencies arm64 "${GUEST_PACKAGES[@]}"
	with_dependencies arm64 "${GUEST_PACKAGES[@]}" | unpack "$root"
	# Unpacking takes the guest's time: leave out what perf and a shell do not need.
	lib=$root/usr/lib
	rm -rf "$root"/usr/share/{bash-completion,bug,common-licenses,debconf,doc,gcc,info,lintian,locale,man,menu,perl,perl5,pixmaps,python3,zoneinfo} \
		"$root"/usr/include "${root:?}"/var "$root"/usr/bin/{perl,python3,pdb3,pydoc3}* \
		"$lib"/{locale,python3*,perf-core/scripts,systemd,udev} "$lib"/*/{gconv,gawk,perl*,security,libperl*,libicudata*}
	mkdir -p "$root"/{dev,proc,sys,tmp,run,root,out} "$root/usr/local/bin" "$root/lib/modules" "$root/var/tmp"
	ln -s bash "$root/usr/bin/sh"
	ln -s mawk "$root/usr/bin/awk"
	echo 'root:x:0:0:root:/root:/bin/bash' >"$root/etc/passwd"
	echo 'root:x:0:' >"$root/etc/group"
	cp "$TOP/tests/payload/init" "$root/init"
	cp "$TOP/tests/payload/agent" "$root/usr/bin/agent"
	WORKDIR=$root enter_root "$ROOT" bash -euo pipefail -c \
		'find . -print0 | LC_ALL=C sort -z | cpio --null -o -H newc -R 0:0 --quiet -O ../initramfs.cpio'
	rm -rf "$root"
}

want_guest() {
	want_root
	step guest build_guest -- "$(with_dependencies arm64 "${GUEST_PACKAGES[@]}")" \
		"$(files_hash tests/payload/{init,agent})"
	export ARM_SPE_INITRAMFS=$result/initramfs.cpio
}
