// Values on their way in and out. The form is that of `src/value.rs`: a tag, then what it holds; lengths are 32 bits and
// numbers 64 bits, little-endian.

#include <stdlib.h>
#include <string.h>

#include "guest.h"

bool buffer_write(Buffer *to, const void *bytes, size_t length) {
    if (length > to->length_max - to->length) return false;
    if (length > to->capacity - to->length) {
        size_t capacity = to->capacity ? to->capacity : 1024;
        while (capacity - to->length < length) capacity *= 2;
        uint8_t *grown = realloc(to->bytes, capacity);
        if (!grown) return false;
        to->bytes = grown;
        to->capacity = capacity;
    }
    if (length) memcpy(to->bytes + to->length, bytes, length);
    to->length += length;
    return true;
}

bool buffer_head(Buffer *to, uint8_t tag, uint32_t length) {
    return buffer_write(to, &tag, 1) && buffer_write(to, &length, 4);
}

static Leave refused(JSContext *context, const char *why) {
    JS_ThrowTypeError(context, "%s", why);
    return LEAVE_REFUSED;
}

static Leave too_large(JSContext *context) {
    JS_ThrowRangeError(context, "the value is larger than what may leave the script");
    return LEAVE_REFUSED;
}

bool text_is_ascii(const uint8_t *text, size_t length) {
    uint64_t all = 0, eight;
    for (; length >= sizeof eight; text += sizeof eight, length -= sizeof eight) {
        memcpy(&eight, text, sizeof eight);
        all |= eight;
    }
    while (length > 0) all |= text[--length];
    return !(all & 0x8080808080808080);
}

// The engine writes half a surrogate pair as three bytes from ED A0 80 on, which UTF-8 forbids.
bool text_is_utf8(JSContext *context, const char *text, size_t length) {
    for (size_t i = 0; i + 1 < length; i++) {
        if ((uint8_t)text[i] == 0xED && (uint8_t)text[i + 1] >= 0xA0) {
            JS_ThrowTypeError(context, "the text holds half of a surrogate pair");
            return false;
        }
    }
    return true;
}

Leave buffer_text(JSContext *context, Buffer *to, const char *text, size_t length) {
    if (!text_is_utf8(context, text, length)) return LEAVE_REFUSED;
    if (length > to->length_max) return too_large(context);
    if (!buffer_head(to, TAG_TEXT, (uint32_t)length) || !buffer_write(to, text, length)) return too_large(context);
    return LEAVE_OK;
}

static Leave leave_bytes(JSContext *context, Buffer *to, const uint8_t *bytes, size_t length) {
    if (length > to->length_max) return too_large(context);
    if (!buffer_head(to, TAG_BYTES, (uint32_t)length) || !buffer_write(to, bytes, length)) return too_large(context);
    return LEAVE_OK;
}

static Leave leave_text(JSContext *context, Buffer *to, JSValueConst value) {
    size_t length;
    bool is_wide;
    const uint8_t *characters = text_characters(value, &length, &is_wide);
    if (characters && !is_wide) {
        if (length > to->length_max) return too_large(context);
        bool room = buffer_head(to, TAG_NARROW, (uint32_t)length) && buffer_write(to, characters, length);
        return room ? LEAVE_OK : too_large(context);
    }
    const char *text = JS_ToCStringLen(context, &length, value);
    if (!text) return LEAVE_THREW;
    Leave left = buffer_text(context, to, text, length);
    JS_FreeCString(context, text);
    return left;
}

static Leave leave_list(JSContext *context, Buffer *to, JSValueConst value, int depth) {
    int64_t length;
    if (JS_GetLength(context, value, &length)) return LEAVE_THREW;
    // Each element takes a byte at least, so this also bounds the loop.
    if (length < 0 || (uint64_t)length > to->length_max - to->length) return too_large(context);
    if (!buffer_head(to, TAG_LIST, (uint32_t)length)) return too_large(context);
    for (int64_t i = 0; i < length; i++) {
        JSValue element = JS_GetPropertyInt64(context, value, i);
        if (JS_IsException(element)) return LEAVE_THREW;
        Leave left = value_leave(context, to, element, depth + 1);
        JS_FreeValue(context, element);
        if (left != LEAVE_OK) return left;
    }
    return LEAVE_OK;
}

static Leave leave_record(JSContext *context, Buffer *to, JSValueConst value, int depth) {
    JSPropertyEnum *names;
    uint32_t count;
    if (JS_GetOwnPropertyNames(context, &names, &count, value, JS_GPN_STRING_MASK | JS_GPN_ENUM_ONLY)) return LEAVE_THREW;
    Leave left = buffer_head(to, TAG_RECORD, count) ? LEAVE_OK : too_large(context);
    for (uint32_t i = 0; i < count && left == LEAVE_OK; i++) {
        JSValue name = JS_AtomToString(context, names[i].atom);
        left = JS_IsException(name) ? LEAVE_THREW : leave_text(context, to, name);
        JS_FreeValue(context, name);
        if (left != LEAVE_OK) break;
        JSValue member = JS_GetProperty(context, value, names[i].atom);
        left = JS_IsException(member) ? LEAVE_THREW : value_leave(context, to, member, depth + 1);
        JS_FreeValue(context, member);
    }
    JS_FreePropertyEnum(context, names, count);
    return left;
}

static Leave leave_object(JSContext *context, Buffer *to, JSValueConst value, int depth) {
    if (depth >= VALUE_DEPTH_MAX) return refused(context, "the value nests too deep, or holds itself");
    if (JS_IsFunction(context, value)) return refused(context, "a function cannot leave the script");
    // It could be an array or not, and could say so differently each time.
    if (JS_IsProxy(value)) return refused(context, "a proxy cannot leave the script");
    size_t length;
    if (JS_IsArrayBuffer(value)) {
        const uint8_t *bytes = JS_GetArrayBuffer(context, &length, value);
        // Null is what a buffer of no bytes and a detached one have in common, and only the latter throws.
        if (!bytes && JS_HasException(context)) return LEAVE_THREW;
        return leave_bytes(context, to, bytes, bytes ? length : 0);
    }
    if (JS_GetTypedArrayType(value) == JS_TYPED_ARRAY_UINT8) {
        const uint8_t *bytes = JS_GetUint8Array(context, &length, value);
        if (!bytes && JS_HasException(context)) return LEAVE_THREW;
        return leave_bytes(context, to, bytes, bytes ? length : 0);
    }
    if (JS_GetTypedArrayType(value) >= 0) return refused(context, "of typed arrays only Uint8Array can leave the script");
    if (JS_IsArray(value)) return leave_list(context, to, value, depth);
    return leave_record(context, to, value, depth);
}

Leave value_leave(JSContext *context, Buffer *to, JSValueConst value, int depth) {
    uint8_t tag;
    switch (JS_VALUE_GET_NORM_TAG(value)) {
    case JS_TAG_UNDEFINED:
        tag = TAG_UNDEFINED;
        break;
    case JS_TAG_NULL:
        tag = TAG_NULL;
        break;
    case JS_TAG_BOOL:
        tag = JS_VALUE_GET_BOOL(value) ? TAG_TRUE : TAG_FALSE;
        break;
    case JS_TAG_INT:
    case JS_TAG_FLOAT64: {
        double number;
        if (JS_ToFloat64(context, &number, value)) return LEAVE_THREW;
        tag = TAG_NUMBER;
        if (!buffer_write(to, &tag, 1) || !buffer_write(to, &number, sizeof number)) return too_large(context);
        return LEAVE_OK;
    }
    case JS_TAG_STRING:
    case JS_TAG_STRING_ROPE:
        return leave_text(context, to, value);
    case JS_TAG_OBJECT:
        return leave_object(context, to, value, depth);
    default:
        return refused(context, "a symbol or a big integer cannot leave the script");
    }
    return buffer_write(to, &tag, 1) ? LEAVE_OK : too_large(context);
}

static JSValue cut_short(JSContext *context) { return JS_ThrowInternalError(context, "a value from outside is cut short"); }

static bool read_length(const uint8_t **at, const uint8_t *end, uint32_t *length) {
    if ((size_t)(end - *at) < 4) return false;
    memcpy(length, *at, 4);
    *at += 4;
    return true;
}

static JSValue enter_list(JSContext *context, const uint8_t **at, const uint8_t *end, uint32_t count, int depth) {
    JSValue list = JS_NewArray(context);
    for (uint32_t i = 0; i < count && !JS_IsException(list); i++) {
        JSValue element = value_enter(context, at, end, depth + 1);
        bool failed = JS_IsException(element)
            || JS_DefinePropertyValueUint32(context, list, i, element, JS_PROP_C_W_E) < 0;
        if (failed) {
            JS_FreeValue(context, list);
            list = JS_EXCEPTION;
        }
    }
    return list;
}

// The name of a member. Names that repeat are found without making a text of them.
static JSAtom enter_name(JSContext *context, const uint8_t **at, const uint8_t *end, int depth) {
    uint32_t length;
    const uint8_t *after = *at + 1;
    if (*at < end && **at == TAG_TEXT && read_length(&after, end, &length) && (size_t)(end - after) >= length) {
        *at = after + length;
        return JS_NewAtomLen(context, (const char *)after, length);
    }
    JSValue name = value_enter(context, at, end, depth);
    JSAtom atom = JS_IsException(name) ? JS_ATOM_NULL : JS_ValueToAtom(context, name);
    JS_FreeValue(context, name);
    return atom;
}

static JSValue enter_record(JSContext *context, const uint8_t **at, const uint8_t *end, uint32_t count, int depth) {
    JSValue record = JS_NewObject(context);
    for (uint32_t i = 0; i < count && !JS_IsException(record); i++) {
        bool failed = true;
        JSAtom atom = enter_name(context, at, end, depth + 1);
        if (atom != JS_ATOM_NULL) {
            JSValue member = value_enter(context, at, end, depth + 1);
            // Defined and not set: a member may be called `__proto__`.
            failed = JS_IsException(member)
                || JS_DefinePropertyValue(context, record, atom, member, JS_PROP_C_W_E) < 0;
            JS_FreeAtom(context, atom);
        }
        if (failed) {
            JS_FreeValue(context, record);
            record = JS_EXCEPTION;
        }
    }
    return record;
}

JSValue value_enter(JSContext *context, const uint8_t **at, const uint8_t *end, int depth) {
    if (depth > VALUE_DEPTH_MAX + 1) return JS_ThrowInternalError(context, "a value from outside nests too deep");
    if (*at == end) return cut_short(context);
    uint8_t tag = *(*at)++;
    switch (tag) {
    case TAG_UNDEFINED:
        return JS_UNDEFINED;
    case TAG_NULL:
        return JS_NULL;
    case TAG_FALSE:
        return JS_FALSE;
    case TAG_TRUE:
        return JS_TRUE;
    case TAG_NUMBER: {
        double number;
        if ((size_t)(end - *at) < sizeof number) return cut_short(context);
        memcpy(&number, *at, sizeof number);
        *at += sizeof number;
        return JS_NewNumber(context, number);
    }
    default:
        break;
    }
    uint32_t length;
    if (!read_length(at, end, &length)) return cut_short(context);
    if (tag == TAG_LIST) return enter_list(context, at, end, length, depth);
    if (tag == TAG_RECORD) return enter_record(context, at, end, length, depth);
    if ((size_t)(end - *at) < length) return cut_short(context);
    const uint8_t *bytes = *at;
    *at += length;
    if (tag == TAG_TEXT) return JS_NewStringLen(context, (const char *)bytes, length);
    if (tag == TAG_NARROW || tag == TAG_WIDE) return text_enter(context, bytes, length, tag == TAG_WIDE);
    if (tag == TAG_BYTES) return JS_NewArrayBufferCopy(context, bytes, length);
    return JS_ThrowInternalError(context, "a value from outside has an unknown tag");
}
