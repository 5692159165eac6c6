// What of the guest needs the engine's insides: texts as the engine keeps them, and `JSON.parse` of long ones.
//
// Whatever goes through a text character by character is slow here, where each step is interpreted. So texts pass in and
// out as the engine keeps them, and long JSON is taken apart outside. Part of `engine.c`.

#include "guest.h"

// Shorter JSON, in bytes, costs less to read here than to hand out.
#define JSON_BYTES_MIN 256

// Takes JSON apart: the length of the value that it means, for `host_take`, or -1 if this is for the engine to read.
__attribute__((import_module("coco"), import_name("json"))) int32_t
host_json(const uint8_t *text, size_t bytes, uint32_t is_wide);
__attribute__((import_module("coco"), import_name("take"))) void host_take(uint8_t *to);

const uint8_t *text_characters(JSValueConst value, size_t *bytes, bool *is_wide) {
    if (JS_VALUE_GET_TAG(value) != JS_TAG_STRING) return NULL;
    JSString *text = JS_VALUE_GET_STRING(value);
    *is_wide = text->is_wide_char;
    *bytes = (size_t)text->len << text->is_wide_char;
    return *is_wide ? (const uint8_t *)str16(text) : str8(text);
}

JSValue text_enter(JSContext *context, const uint8_t *characters, size_t bytes, bool is_wide) {
    if (bytes == 0) return js_empty_string(context->rt);
    JSString *text = js_alloc_string(context, (int)(bytes >> is_wide), is_wide);
    if (!text) return JS_EXCEPTION;
    memcpy(str8(text), characters, bytes);
    if (!is_wide) str8(text)[bytes] = '\0';
    return JS_MKPTR(JS_TAG_STRING, text);
}

// The value of a long text of JSON as it is read outside. False: the engine reads it itself, or says what is wrong with it.
static bool parsed_outside(JSContext *context, JSValueConst text, size_t bytes_max, JSValue *value) {
    size_t bytes;
    bool is_wide;
    const uint8_t *characters = text_characters(text, &bytes, &is_wide);
    if (!characters || bytes < JSON_BYTES_MIN || bytes > bytes_max) return false;
    int32_t length = host_json(characters, bytes, is_wide);
    uint8_t *encoded = length > 0 ? malloc((size_t)length) : NULL;
    if (!encoded) return false;
    host_take(encoded);
    const uint8_t *at = encoded;
    *value = value_enter(context, &at, encoded + length, 0);
    free(encoded);
    return true;
}

JSValue json_parse(JSContext *context, JSValueConst self, int count, JSValueConst *arguments) {
    bool is_plain = JS_IsString(arguments[0]) && !(count > 1 && JS_IsFunction(context, arguments[1]));
    if (!is_plain) return js_json_parse(context, self, count, arguments);
    JSValue text = JS_ToString(context, arguments[0]);
    if (JS_IsException(text)) return text;
    JSValue value;
    if (!parsed_outside(context, text, value_bytes_max, &value)) value = js_json_parse(context, self, count, arguments);
    JS_FreeValue(context, text);
    return value;
}
