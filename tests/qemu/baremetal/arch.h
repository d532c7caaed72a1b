/* SPDX-License-Identifier: GPL-2.0 */
/* Types, bits, system registers and barriers. */
#ifndef ARCH_H
#define ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1ull << (n))
#define BITS(high, low) (~0ull << (low) & ~0ull >> (63 - (high)))
#define FIELD(value, high, low) (((value) & BITS(high, low)) >> (low))

#define STRING_(x) #x
#define STRING(x) STRING_(x)
#define mrs(reg) ({ u64 v_; asm volatile("mrs %0, " STRING(reg) : "=r"(v_) : : "memory"); v_; })
#define msr(reg, value) asm volatile("msr " STRING(reg) ", %0" : : "r"((u64)(value)) : "memory")
#define isb() asm volatile("isb" : : : "memory")
#define dsb() asm volatile("dsb sy" : : : "memory")
#define psb_csync() asm volatile("hint #17\n\tdsb nsh" : : : "memory")

#endif
