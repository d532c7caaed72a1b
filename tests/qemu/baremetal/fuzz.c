// SPDX-License-Identifier: GPL-2.0
#include "runtime.h"

void fuzz(u64 iterations)
{
}
