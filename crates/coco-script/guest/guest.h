// What the parts of the guest share.
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quickjs.h"

// Values nest at most this deep on their way in or out. As in `src/value.rs`.
#define VALUE_DEPTH_MAX 64

// Bytes on their way to the outside.
typedef struct {
    uint8_t *bytes;
    size_t length;
    size_t capacity;
    // More is refused.
    size_t length_max;
} Buffer;

// What became of a value that should leave.
typedef enum {
    LEAVE_OK = 0,
    // Script code that ran meanwhile (a getter, a trap of a proxy) threw. The exception is pending.
    LEAVE_THREW = -1,
    // The value has no form outside. An exception that says why is pending.
    LEAVE_REFUSED = -2,
} Leave;

Leave value_leave(JSContext *context, Buffer *to, JSValueConst value, int depth);

// Reads one value and moves `*at`. Bytes come from the outside, which is trusted; what does not fit throws all the same.
JSValue value_enter(JSContext *context, const uint8_t **at, const uint8_t *end, int depth);

// What may leave or enter in one value, in bytes.
extern size_t value_bytes_max;

// Where the characters of a text lie, of one byte or, if it is wide, of two. Null for what is no text in one piece.
const uint8_t *text_characters(JSValueConst value, size_t *bytes, bool *is_wide);

// Whether all bytes are those of ASCII.
bool text_is_ascii(const uint8_t *text, size_t length);

// Whether what the engine gives for UTF-8 is that. If not, an exception that says so is pending.
bool text_is_utf8(JSContext *context, const char *text, size_t length);

// A text of these characters.
JSValue text_enter(JSContext *context, const uint8_t *characters, size_t bytes, bool is_wide);

// `JSON.parse`.
JSValue json_parse(JSContext *context, JSValueConst self, int count, JSValueConst *arguments);

bool buffer_write(Buffer *to, const void *bytes, size_t length);
Leave buffer_text(JSContext *context, Buffer *to, const char *text, size_t length);
bool buffer_head(Buffer *to, uint8_t tag, uint32_t length);

enum {
    TAG_UNDEFINED = 0,
    TAG_NULL = 1,
    TAG_FALSE = 2,
    TAG_TRUE = 3,
    TAG_NUMBER = 4,
    TAG_TEXT = 5,
    TAG_BYTES = 6,
    TAG_LIST = 7,
    TAG_RECORD = 8,
    // Texts as the engine keeps them: characters of one byte, and of two.
    TAG_NARROW = 9,
    TAG_WIDE = 10,
};

#endif
