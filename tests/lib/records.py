# SPDX-License-Identifier: GPL-2.0
"""Records of SPE, decoded from the Arm ARM (DDI 0487, chapter D18) for comparison with what the driver decodes."""

import struct
from collections import namedtuple

#: The fields of struct arm_spe_record (arm_spe_record.h), in their order.
Record = namedtuple("Record", (
    "pc branch_target previous_target data_va data_pa timestamp events data_source present size context_el1 context_el2"
    " total_latency issue_latency translation_latency other_counter other_index class_ subclass el security target_el"
    " va_tag pa_flags"))
STRUCT = struct.Struct("<8Q4I4H8B")

#: {header: (field, bit of present)} of packets that are a number.
NUMBERS = {
    **{header: ("events", 11) for header in (0x42, 0x52, 0x62, 0x72)},
    **{header: ("data_source", 12) for header in (0x43, 0x53, 0x63, 0x73)},
    0x64: ("context_el1", 9), 0x65: ("context_el2", 10), 0x71: ("timestamp", 14),
    0x98: ("total_latency", 5), 0x99: ("issue_latency", 6), 0x9a: ("translation_latency", 7),
}
#: {header: (field, bit of present)} of addresses.
ADDRESSES = {0xb0: ("pc", 0), 0xb1: ("branch_target", 1), 0xb2: ("data_va", 2), 0xb3: ("data_pa", 3), 0xb4: ("previous_target", 4)}


def from_structs(data):
    """Returns each Record in structs."""
    return [Record(*values) for values in STRUCT.iter_unpack(data)]


def address(header, value):
    """Returns the fields that an address packet has."""
    field, _ = ADDRESSES[header]
    top, value = value >> 56, value & (1 << 56) - 1
    if field != "data_pa" and value >> 55:
        value |= 0xff << 56
    return {field: value, **{
        "pc": {"el": top >> 5 & 3, "security": top >> 7 | (top >> 4 & 1) << 1}, "branch_target": {"target_el": top >> 5 & 3},
        "data_va": {"va_tag": top}, "data_pa": {"pa_flags": top}}.get(field, {})}


def decode(data, align):
    """Yields each Record in a trace of records at multiples of align, which has no other packets than those above."""
    at = 0
    while at < len(data):
        start, present, fields = at, 0, dict.fromkeys(Record._fields, 0)
        while (header := data[at]) != 1:
            size = 1 << (header >> 4 & 3)
            value = int.from_bytes(data[at + 1:at + 1 + size], "little")
            at += 1 + size
            if header in ADDRESSES:
                fields |= address(header, value)
                present |= 1 << ADDRESSES[header][1]
            elif header & 0xfc == 0x48:
                fields |= {"class_": header & 3, "subclass": value}
                present |= 1 << 13
            else:
                field, bit = NUMBERS[header]
                fields[field] = value
                present |= 1 << bit
            if header == 0x71:
                at -= 1
                break
        yield Record(**fields | {"present": present, "size": at + 1 - start})
        at = (at // align + 1) * align
