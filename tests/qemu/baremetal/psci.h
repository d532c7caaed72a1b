/* SPDX-License-Identifier: GPL-2.0 */
/* Power State Coordination Interface (Arm DEN0022): what is below EL3 calls it. */
#ifndef PSCI_H
#define PSCI_H

#include "runtime.h"

#define PSCI_CPU_SUSPEND 0xc4000001
#define PSCI_CPU_ON 0xc4000003
#define PSCI_FEATURES 0x8400000a
#define PSCI_SYSTEM_SUSPEND 0xc400000e
#define PSCI_NOT_SUPPORTED (-1ull)
#define PSCI_DENIED (-3ull)
#define POWERDOWN BIT(16)	/* of CPU_SUSPEND's power_state; standby otherwise */

/* Calls PSCI. Returns what that returns, or x0 at psci_entry, where a CPU starts again that has lost its power. */
u64 psci(u64 function, u64 a1, u64 a2, u64 a3);
extern const char psci_entry[];

#endif
