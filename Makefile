# SPDX-License-Identifier: GPL-2.0
#
# `make help` lists what there is. Kbuild has the module itself.

WITH := tests/env/with
BUILD_MODULE := scripts/build-module

# A tree to build against. Without one: the running kernel's on arm64, the stock Debian kernel that
# the tests boot elsewhere.
ifeq ($(origin KDIR),undefined)
ifeq ($(shell uname -m),aarch64)
KDIR := /lib/modules/$(shell uname -r)/build
endif
endif

# The kernel's build takes these from the command line alone, and so do the tools.
$(foreach tool,CC RUSTC BINDGEN,$(if $(filter environment,$(origin $(tool))),$(eval unexport $(tool))))

# make DEBUG=1: the module checks its state machine at every return of a callback. Other programs use the name as well,
# in the environment.
modules: export ARM_SPE_DEBUG := $(if $(filter command,$(origin DEBUG)),$(filter-out 0,$(DEBUG)))

all: modules

built_module := build/module/arm_spe_pmu.ko

modules:
ifdef KDIR
	@MAKE='$(MAKE)' tools/make-module '$(KDIR)'
else
	$(WITH) kernel $(BUILD_MODULE) $(if $(ARM_SPE_DEBUG),checked) modules
endif

# As root, on the machine with the hardware. The module goes to updates/, which modprobe prefers to
# the kernel's own. INSTALL_MOD_PATH: the root directory of another system.
INSTALL_MOD_PATH ?=
PREFIX ?= /usr/local

install modules_install:
	@tools/install-module $(built_module) '$(INSTALL_MOD_PATH)'
	@install -D -m 755 tools/spe-doctor '$(INSTALL_MOD_PATH)$(PREFIX)/bin/spe-doctor'
	@install -D -m 644 docs/spe-doctor.8 '$(INSTALL_MOD_PATH)$(PREFIX)/share/man/man8/spe-doctor.8'

uninstall:
	@status=0; tools/install-module --remove '$(INSTALL_MOD_PATH)' $(RELEASE) || status=1; \
		rm -f '$(INSTALL_MOD_PATH)$(PREFIX)/bin/spe-doctor' '$(INSTALL_MOD_PATH)$(PREFIX)/share/man/man8/spe-doctor.8' && exit $$status

# For Secure Boot: KEY and CERT are the machine owner's; without, those that DKMS has made.
KEY ?= /var/lib/dkms/mok.key
CERT ?= /var/lib/dkms/mok.pub
sign:
	@tools/sign-module $(built_module) '$(KEY)' '$(CERT)' $(if $(KDIR),'$(KDIR)')

# The packages for Debian and Fedora that build the module by DKMS for each kernel that is installed: build/deb/, build/rpm/.
deb: packager := dh_dkms
rpm: packager := rpmbuild
deb rpm:
	$(if $(shell command -v $(packager)),,$(WITH) root) tools/build-package $@

define check_driver
@case '$(DRIVER)' in ''|c|rust) ;; *) \
	echo "error: DRIVER=$(DRIVER): give rust (this project's, the default) or c (the stock kernel's)" >&2; exit 1;; esac
endef

ifneq ($(DRIVER),c)
demo shell: module = $(WITH) kernel $(BUILD_MODULE) -s modules
endif

# Minutes; every subject; hours.
check:
	@TIER=quick tests/test
test:
	@tests/test
test-long:
	@$(MAKE) --no-print-directory -k long-scenarios no-allocation mutants
long-scenarios:
	@TIER=long tests/test

# Which lines of the module the tests execute. T=name adds to what earlier runs have left.
coverage: export ARM_SPE_COVERAGE := $(CURDIR)/build/coverage
coverage:
	@$(if $(T),,rm -rf build/coverage)
	@mkdir -p build/coverage
	@$(WITH) qemu_touched $(MAKE) -s -C tests/qemu/plugin
	@$(MAKE) --no-print-directory test; status=$$?; \
		$(WITH) kernel tests/coverage/report.py build/coverage && exit $$status

kunit:
	@$(MAKE) --no-print-directory test T=kunit

# A million transitions: half an hour.
no-allocation:
	@ARM_SPE_TRANSITIONS=1000000 $(MAKE) --no-print-directory test T=no_allocation

# What each driver does in the situations of docs/comparison.md, which has it from the runs, good or bad.
table:
	@rm -f build/verdicts.json
	-$(MAKE) test T=three_drivers
	-TIER=long $(MAKE) test T=three_drivers
	$(WITH) root tests/cli/tables situations

# What each driver does when the hardware fails, in every mode: docs/faults.md has it from the runs.
fault-table:
	@rm -f build/faults.json
	-$(MAKE) test T=faults
	-$(MAKE) test T=faults DRIVER=c
	$(WITH) kernel,qemu,guest tests/cli/tables faults

# How much slower the emulated unit makes QEMU: ratios of one run.
qemu-bench:
	@$(MAKE) --no-print-directory test T=speed

# What this driver and the C driver cost, counted: docs/cost.md.
bench:
	$(WITH) kernel $(BUILD_MODULE) -s modules
	$(WITH) kernel,qemu,qemu_touched,guest tests/cli/bench

# What the driver costs is as it is: the next `make test` compares with that.
bench-baseline:
	@ARM_SPE_BASELINE=1 $(MAKE) --no-print-directory test T=cost

# perf_event_open(2) around the PMU, for as many minutes as wanted, on one of the kernels of tests/env/kernels.
fuzz: export ARM_SPE_COVERAGE := $(CURDIR)/build/fuzz-coverage
fuzz:
	$(check_driver)
	@rm -rf $(ARM_SPE_COVERAGE) && mkdir -p $(ARM_SPE_COVERAGE)
	@$(WITH) qemu_touched $(MAKE) -s -C tests/qemu/plugin
	tests/env/with-kernel $(or $(KERNEL),debug) tests/cli/fuzz $(or $(KERNEL),debug) $(or $(MINUTES),10) $(or $(SEED),1) $(or $(START),0) $(if $(filter 1,$(SHARE)),share)
	$(if $(filter c,$(DRIVER)),,@$(WITH) kernel tests/coverage/report.py $(ARM_SPE_COVERAGE) table)

# For as many minutes as wanted: CPUs and the driver come and go, tasks move, the machine sleeps, and
# events of all kinds record.
storm:
	$(check_driver)
	tests/env/with-kernel $(or $(KERNEL),nmi) tests/cli/storm $(or $(KERNEL),nmi) $(or $(MINUTES),10) $(or $(SEED),1)

# For as many minutes as wanted, with sanitizers in QEMU: random register values, faults and interrupts.
qemu-fuzz:
	$(WITH) qemu,qemu_sanitized tests/qemu/fuzz.py $(or $(MINUTES),10) $(or $(SEED),1)

# Each rule of the model of SPE, broken on purpose: does a test notice?
qemu-mutants:
	$(WITH) kernel $(BUILD_MODULE) -s modules
	$(WITH) kernel,qemu,qemu_source,guest,perf tests/qemu/mutate --readme $(if $(M),'$(M)')

# Each mutation of the driver: does a test notice? M=name for one (a regular expression), ALL=1 to try all scenarios.
mutants:
	$(WITH) kernel,kernel_control,kernel_debug,kernel_rt,qemu,qemu_touched,guest,perf,uefi \
		tests/mutants/run $(if $(ALL),--all) $(if $(README),--readme) $(if $(M),'$(M)')

test-host:
	$(WITH) root tests/host/run

# For the kernels of Debian's suites that have Rust, in each flavour, and for one that is built here (the suite "source"):
# the table of docs/status.md. SUITES=... for some suites, RELEASE=... for one kernel.
test-matrix:
	tests/env/matrix $(RELEASE)

# The ways of docs/install.md onto an arm64 machine, in arm64 Debians by user-mode emulation, and booted. COLD=1: all of it.
test-native:
	tests/env/native

# As root, on the machine with the hardware: docs/boards.md, "Testing a machine".
test-board:
	@tools/board-test

demo:
	$(check_driver)
	$(module)
	$(WITH) kernel,qemu,guest,perf tests/cli/demo

shell:
	$(check_driver)
	$(module)
	$(WITH) kernel,qemu,guest tests/cli/shell

# The crate roots; rustfmt goes on to their modules.
crates := arm_spe_pmu.rs tests/host/src/lib.rs $(wildcard tests/misuse/*.rs)

fmt:
	$(WITH) root rustfmt $(crates)

fmt-check:
	$(WITH) root rustfmt --check $(crates)

clippy:
	$(WITH) kernel scripts/clippy

doc:
	$(WITH) kernel scripts/doc

# FEAT_SPE for QEMU, as patches that are complete.
qemu-series:
	$(WITH) qemu_touched tests/qemu/series build/qemu-series

update:
	$(WITH) update

clean:
	rm -rf build out tests/host/target

distclean: clean
	tests/env/with forget

help:
	@echo 'make               build build/*/arm_spe_pmu.ko: on arm64 for the running kernel, elsewhere for'
	@echo '                   the stock Debian kernel of the tests; KDIR=tree names another kernel tree'
	@echo '                   (DEBUG=1: the module checks itself, see docs/troubleshooting.md)'
	@echo 'make install       as root on the arm64 machine: install the module and spe-doctor; make uninstall: remove them'
	@echo 'make sign          for Secure Boot: sign the module with KEY=... CERT=... (or the key of DKMS), before installing'
	@echo 'make deb rpm       packages for Debian and Fedora that build the module by DKMS: build/deb/, build/rpm/'
	@echo 'make demo          boot a guest with SPE and profile a workload through the driver, with charts: out/demo/report.html'
	@echo 'make shell         an interactive guest with the driver and perf'
	@echo 'make check         the quickest tests: minutes'
	@echo 'make test          every subject; T=name for one scenario; DRIVER=c for the stock C driver; WORKERS=n at a time'
	@echo 'make test-long     what takes hours'
	@echo 'make coverage      run the tests and report which lines of the module they execute; T=name adds one'
	@echo 'make kunit         the KUnit suites of the driver, on the debug kernel'
	@echo 'make no-allocation a million transitions on the debug kernel without an allocation'
	@echo 'make table         run the situations of the table in docs/comparison.md and write it anew'
	@echo 'make fault-table   what the drivers do with faults, anew for docs/faults.md'
	@echo 'make bench         what this driver and the C driver cost, counted in instructions: build/bench/'
	@echo 'make bench-baseline  take what the driver costs now as what make test compares with'
	@echo 'make fuzz          random use of perf_event_open(2) with the PMU, for MINUTES=10; SEED=1 START=0 (a round of'
	@echo '                   it) KERNEL=debug or another one of tests/env/kernels; SHARE=1: tasks that share buffers'
	@echo 'make storm         hotplug, migration, reloading and suspending over events of all kinds, for'
	@echo '                   MINUTES=10; SEED=1; KERNEL=nmi or another one of tests/env/kernels'
	@echo 'make qemu-fuzz     random registers and faults in a QEMU with sanitizers, for MINUTES=10; SEED=1'
	@echo 'make qemu-bench    how much slower QEMU is with SPE disabled, and while it samples'
	@echo 'make qemu-mutants  break each rule of the model of SPE and see that a test notices; M=name for one'
	@echo 'make mutants       break the driver in many ways and see that a test notices; M=name for one, ALL=1: by any scenario; hours'
	@echo 'make test-host     the tests of the pure logic alone, in seconds'
	@echo 'make fmt clippy    format; the kernel lint set'
	@echo 'make doc           the documentation of the driver as pages, in build/doc/'
	@echo 'make test-matrix   build the module for the kernels of SUITES from 7.2 on, in each flavour, and try it there'
	@echo 'make test-native   install as docs/install.md says, by make and by DKMS, in an emulated arm64 Debian, and boot it; hours; COLD=1:'
	@echo '                   also what earlier runs have made of the kernels'
	@echo 'make test-board    as root on a machine with SPE: run what needs no emulation, with both drivers, and leave a report to send'
	@echo 'make qemu-series   FEAT_SPE as patches for the source of QEMU, in build/qemu-series/'
	@echo 'make update        read the package lists anew and move to the newest kernel'
	@echo 'make clean         remove what was built in this checkout'
	@echo 'make distclean     remove the cache as well'
	@echo
	@echo 'The cache is ~/.cache/arm-spe-pmu (ARM_SPE_CACHE names another place). DEBIAN_MIRROR names a'
	@echo 'mirror other than the one of the apt sources of this machine. KEEP=1 keeps all test artefacts.'
	@echo 'JOBS=n limits what is built at a time. DRIVER=c also works with demo, shell, fuzz and storm. T= is a'
	@echo 'scenario, or an expression as pytest -k takes it. ARM_SPE_QEMU=DIR uses a QEMU built elsewhere.'
	@echo 'RELEASE=... names a kernel for test-matrix and uninstall; INSTALL_MOD_PATH and PREFIX are for install.'

.PHONY: all modules install modules_install uninstall sign deb rpm check test test-long long-scenarios test-matrix test-native test-board coverage kunit no-allocation table fault-table bench bench-baseline \
	fuzz storm qemu-series qemu-fuzz qemu-bench qemu-mutants mutants test-host demo \
	shell fmt fmt-check clippy doc update clean distclean help
