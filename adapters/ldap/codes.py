"""Numbers of the protocol: operation tags (RFC 4511 section 4), result codes (appendix A), object identifiers."""

from __future__ import annotations

from enum import IntEnum


class Op:
    """Tags of protocol operations as they stand on the wire."""

    BIND = 0x60
    BIND_RESPONSE = 0x61
    UNBIND = 0x42
    SEARCH = 0x63
    ENTRY = 0x64
    DONE = 0x65
    MODIFY = 0x66
    MODIFY_RESPONSE = 0x67
    ADD = 0x68
    ADD_RESPONSE = 0x69
    DELETE = 0x4A
    DELETE_RESPONSE = 0x6B
    MODIFY_DN = 0x6C
    MODIFY_DN_RESPONSE = 0x6D
    COMPARE = 0x6E
    COMPARE_RESPONSE = 0x6F
    ABANDON = 0x50
    REFERENCE = 0x73
    EXTENDED = 0x77
    EXTENDED_RESPONSE = 0x78
    INTERMEDIATE = 0x79


ANSWER = {
    Op.BIND: Op.BIND_RESPONSE,
    Op.SEARCH: Op.DONE,
    Op.MODIFY: Op.MODIFY_RESPONSE,
    Op.ADD: Op.ADD_RESPONSE,
    Op.DELETE: Op.DELETE_RESPONSE,
    Op.MODIFY_DN: Op.MODIFY_DN_RESPONSE,
    Op.COMPARE: Op.COMPARE_RESPONSE,
    Op.EXTENDED: Op.EXTENDED_RESPONSE,
}
"""The final answer that fits each request; Unbind and Abandon have none."""

READS = frozenset({Op.SEARCH, Op.COMPARE})

NOT_FINAL = frozenset({Op.ENTRY, Op.REFERENCE, Op.INTERMEDIATE})
"""Every other response ends its request, even one of a type that does not fit: Samba answers a Search with an
ExtendedResponse when it does not know a critical control."""


class Code(IntEnum):
    """Result codes that the bridge gives or looks at."""

    SUCCESS = 0
    OPERATIONS_ERROR = 1
    PROTOCOL_ERROR = 2
    TIME_LIMIT = 3
    SIZE_LIMIT = 4
    COMPARE_FALSE = 5
    COMPARE_TRUE = 6
    METHOD_NOT_SUPPORTED = 7
    STRONGER_AUTH = 8
    REFERRAL = 10
    ADMIN_LIMIT = 11
    CRITICAL_EXTENSION = 12
    CONFIDENTIALITY = 13
    SASL_IN_PROGRESS = 14
    NO_SUCH_ATTRIBUTE = 16
    UNDEFINED_TYPE = 17
    CONSTRAINT = 19
    NO_SUCH_OBJECT = 32
    INVALID_DN = 34
    INVALID_CREDENTIALS = 49
    INSUFFICIENT_ACCESS = 50
    BUSY = 51
    UNAVAILABLE = 52
    UNWILLING = 53
    OTHER = 80
    CANCELED = 118
    NO_SUCH_OPERATION = 119


class Oid:
    """Extended operations and controls by name."""

    NOTICE_OF_DISCONNECTION = "1.3.6.1.4.1.1466.20036"
    START_TLS = "1.3.6.1.4.1.1466.20037"
    WHO_AM_I = "1.3.6.1.4.1.4203.1.11.3"
    PASSWORD_MODIFY = "1.3.6.1.4.1.4203.1.11.1"  # noqa: S105
    CANCEL = "1.3.6.1.1.8"

    ACTIVE_DIRECTORY = "1.2.840.113556.1.4.800"
    """Of ``supportedCapabilities`` (MS-ADTS 3.1.1.3.4.3.1)."""

    MANAGE_DSA_IT = "2.16.840.1.113730.3.4.2"
    PERSISTENT_SEARCH = "2.16.840.1.113730.3.4.3"
    ENTRY_CHANGE = "2.16.840.1.113730.3.4.7"
    VLV_REQUEST = "2.16.840.1.113730.3.4.9"
    VLV_RESPONSE = "2.16.840.1.113730.3.4.10"
    PROXIED_AUTHORIZATION_V1 = "2.16.840.1.113730.3.4.12"
    PROXIED_AUTHORIZATION = "2.16.840.1.113730.3.4.18"
    PAGED_RESULTS = "1.2.840.113556.1.4.319"
    SORT_REQUEST = "1.2.840.113556.1.4.473"
    SORT_RESPONSE = "1.2.840.113556.1.4.474"
    TREE_DELETE = "1.2.840.113556.1.4.805"
    SD_FLAGS = "1.2.840.113556.1.4.801"
    EXTENDED_DN = "1.2.840.113556.1.4.529"
    SHOW_DELETED = "1.2.840.113556.1.4.417"
    SUBENTRIES = "1.3.6.1.4.1.4203.1.10.1"
    ASSERTION = "1.3.6.1.1.12"
    PRE_READ = "1.3.6.1.1.13.1"
    POST_READ = "1.3.6.1.1.13.2"
    MATCHED_VALUES = "1.2.826.0.1.3344810.2.3"
    SYNC_REQUEST = "1.3.6.1.4.1.4203.1.9.1.1"
    SESSION_TRACKING = "1.3.6.1.4.1.21008.108.63.1"
    SESSION_TRACKING_USERNAME = "1.3.6.1.4.1.21008.108.63.1.3"
    PPOLICY = "1.3.6.1.4.1.42.2.27.8.5.1"
