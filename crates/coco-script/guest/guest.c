// The guest: a JavaScript engine that knows four functions outside, and nothing else. Three are here, the fourth in `texts.c`.
//
// The host (`src/instance.rs`) calls the functions marked EXPORT. Names and sources that it hands over end with a zero byte
// that their length does not count. One guest lives for one run: what is allocated for the run is not given back.

#include <stdlib.h>
#include <string.h>

#include "guest.h"

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) __attribute__((import_module("coco"), import_name(#name)))

// Asks the outside. What it answers is fetched by `take`: `n` bytes that are a value if the result is `n`, and a text
// that says why not if it is `-1 - n`.
IMPORT(call) int32_t host_call(const char *operation, size_t operation_length, const uint8_t *arguments, size_t length);
IMPORT(take) void host_take(uint8_t *to);
// A line for the log.
IMPORT(log) void host_log(const char *text, size_t length);

// Names for what came of a call. As in `src/instance.rs`.
enum {
    DONE = 0,
    // Script code threw. The output is a list of name, message and stack, all as bytes.
    THREW = 1,
    // A source is not JavaScript, or a module that it imports does not exist or is none. Output as for THREW.
    MALFORMED = 2,
    // What the function returned has no form outside. Output as for THREW.
    RESULT_REFUSED = 3,
    // The module does not export a function of this name.
    NO_FUNCTION = 4,
    // A promise is open, and nothing is left that could settle it.
    UNSETTLED = 5,
};

// Longest texts of an exception, in bytes. The output always has room for them.
#define NAME_BYTES_MAX 256
#define MESSAGE_BYTES_MAX 4096
#define STACK_BYTES_MAX 8192
#define OUTPUT_BYTES_MIN 16384

// The engine collects cycles when this much has been allocated since the last time, at first. Later it goes by what lives.
#define COLLECTION_BYTES (256 * 1024)

typedef struct Source {
    struct Source *next;
    const char *name;
    const char *text;
    size_t length;
    // Not null once it is compiled.
    JSModuleDef *module;
} Source;

static JSRuntime *runtime;
static JSContext *context;
static Source *sources;
static Buffer output;
size_t value_bytes_max;
// Set when a module could not be compiled or found.
static bool malformed;

EXPORT(allocate) void *guest_allocate(size_t length) { return malloc(length); }

EXPORT(output) const uint8_t *guest_output(void) { return output.bytes; }

EXPORT(output_length) size_t guest_output_length(void) { return output.length; }

EXPORT(limit) void guest_limit(size_t value_bytes) { value_bytes_max = value_bytes; }

// Bytes of the text that are kept: whole characters only.
static size_t cut(const char *text, size_t length, size_t length_max) {
    if (length <= length_max) return length;
    length = length_max;
    while (length > 0 && ((uint8_t)text[length] & 0xC0) == 0x80) length--;
    return length;
}

// Writes a text that may be anything. Script code that throws while it makes the text is not asked again.
static void write_text(JSValueConst value, size_t length_max) {
    size_t length = 0;
    const char *text = JS_ToCStringLen(context, &length, value);
    if (!text) JS_FreeValue(context, JS_GetException(context));
    size_t kept = text ? cut(text, length, length_max) : 0;
    buffer_head(&output, TAG_BYTES, (uint32_t)kept);
    buffer_write(&output, text, kept);
    if (text) JS_FreeCString(context, text);
}

static void write_member(JSValueConst error, const char *name, size_t length_max) {
    JSValue member = JS_GetPropertyStr(context, error, name);
    if (JS_IsException(member)) JS_FreeValue(context, JS_GetException(context));
    // Only what is a text already: converting would run more of the script for nothing.
    JSValue text = JS_IsString(member) ? member : JS_NewString(context, "");
    write_text(text, length_max);
    JS_FreeValue(context, text);
    if (!JS_IsString(member)) JS_FreeValue(context, member);
}

// Puts the pending exception out.
static int32_t exception(int32_t outcome) {
    JSValue thrown = JS_GetException(context);
    output.length = 0;
    output.length_max = OUTPUT_BYTES_MIN;
    buffer_head(&output, TAG_LIST, 3);
    if (JS_IsObject(thrown)) {
        write_member(thrown, "name", NAME_BYTES_MAX);
        write_member(thrown, "message", MESSAGE_BYTES_MAX);
        write_member(thrown, "stack", STACK_BYTES_MAX);
    } else {
        write_text(JS_UNDEFINED, 0);
        write_text(thrown, MESSAGE_BYTES_MAX);
        write_text(JS_UNDEFINED, 0);
    }
    JS_FreeValue(context, thrown);
    return outcome;
}

static JSValue console_log(JSContext *ctx, JSValueConst self, int count, JSValueConst *arguments) {
    (void)self;
    Buffer line = {.length_max = value_bytes_max};
    for (int i = 0; i < count; i++) {
        size_t length;
        const char *text = JS_ToCStringLen(ctx, &length, arguments[i]);
        if (!text) {
            free(line.bytes);
            return JS_EXCEPTION;
        }
        // What has no room is left out.
        if (i > 0) buffer_write(&line, " ", 1);
        buffer_write(&line, text, cut(text, length, line.length_max - line.length));
        JS_FreeCString(ctx, text);
    }
    host_log((const char *)line.bytes, line.length);
    free(line.bytes);
    return JS_UNDEFINED;
}

// Answers a call with what the outside said.
static JSValue answer(JSContext *ctx, int32_t said) {
    size_t length = said >= 0 ? (size_t)said : (size_t)(-1 - said);
    uint8_t *bytes = malloc(length ? length : 1);
    if (!bytes) return JS_ThrowOutOfMemory(ctx);
    host_take(bytes);
    JSValue value;
    if (said >= 0) {
        const uint8_t *at = bytes;
        value = value_enter(ctx, &at, bytes + length, 0);
    } else {
        JSValue error = JS_NewError(ctx);
        JSValue message = JS_NewStringLen(ctx, (const char *)bytes, length);
        JS_DefinePropertyValueStr(ctx, error, "message", message, JS_PROP_CONFIGURABLE | JS_PROP_WRITABLE);
        value = JS_Throw(ctx, error);
    }
    free(bytes);
    return value;
}

// `host(operation, ...arguments)`.
static JSValue host(JSContext *ctx, JSValueConst self, int count, JSValueConst *arguments) {
    (void)self;
    if (count < 1 || !JS_IsString(arguments[0])) return JS_ThrowTypeError(ctx, "host: the operation is a text");
    size_t length;
    const char *operation = JS_ToCStringLen(ctx, &length, arguments[0]);
    if (!operation) return JS_EXCEPTION;
    Buffer list = {.length_max = value_bytes_max};
    Leave left = buffer_head(&list, TAG_LIST, (uint32_t)(count - 1)) ? LEAVE_OK : LEAVE_REFUSED;
    for (int i = 1; i < count && left == LEAVE_OK; i++) left = value_leave(ctx, &list, arguments[i], 1);
    JSValue value = JS_EXCEPTION;
    if (left == LEAVE_OK) {
        int32_t said = host_call(operation, length, list.bytes, list.length);
        value = answer(ctx, said);
    } else if (!JS_HasException(ctx)) {
        JS_ThrowRangeError(ctx, "host: no room for the arguments");
    }
    JS_FreeCString(ctx, operation);
    free(list.bytes);
    return value;
}

static JSValue is_proxy(JSContext *ctx, JSValueConst self, int count, JSValueConst *arguments) {
    (void)ctx;
    (void)self;
    return JS_NewBool(ctx, count > 0 && JS_IsProxy(arguments[0]));
}

// `host.strToBuf(text)`: a buffer with the text in UTF-8. It needs nothing of the outside, and is asked for often.
static JSValue text_to_buffer(JSContext *ctx, JSValueConst self, int count, JSValueConst *arguments) {
    (void)self;
    if (count < 1 || !JS_IsString(arguments[0])) return JS_ThrowTypeError(ctx, "argument must be a string");
    size_t length;
    bool is_wide;
    const uint8_t *characters = text_characters(arguments[0], &length, &is_wide);
    if (characters && !is_wide && text_is_ascii(characters, length)) return JS_NewArrayBufferCopy(ctx, characters, length);
    const char *text = JS_ToCStringLen(ctx, &length, arguments[0]);
    if (!text) return JS_EXCEPTION;
    JSValue buffer = text_is_utf8(ctx, text, length) ? JS_NewArrayBufferCopy(ctx, (const uint8_t *)text, length) : JS_EXCEPTION;
    JS_FreeCString(ctx, text);
    return buffer;
}

static Source *find(const char *name) {
    for (Source *source = sources; source; source = source->next) {
        if (!strcmp(source->name, name)) return source;
    }
    return NULL;
}

// Compiles a module if it is not compiled yet. Null means that an exception is pending.
static JSModuleDef *compiled(JSContext *ctx, const char *name) {
    Source *source = find(name);
    if (!source) {
        malformed = true;
        JS_ThrowReferenceError(ctx, "there is no module %s", name);
        return NULL;
    }
    if (source->module) return source->module;
    int flags = JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY;
    JSValue made = JS_Eval(ctx, source->text, source->length, source->name, flags);
    if (JS_IsException(made)) {
        malformed = true;
        return NULL;
    }
    // The runtime holds all modules for as long as it lives.
    source->module = JS_VALUE_GET_PTR(made);
    return source->module;
}

static JSModuleDef *load(JSContext *ctx, const char *name, void *opaque) {
    (void)opaque;
    return compiled(ctx, name);
}

static bool define(JSValueConst on, const char *name, JSCFunction *function, int parameters) {
    JSValue made = JS_NewCFunction(context, function, name, parameters);
    return JS_DefinePropertyValueStr(context, on, name, made, JS_PROP_CONFIGURABLE | JS_PROP_WRITABLE) >= 0;
}

// The outside functions and the console, as properties of the global object; and what takes the place of the engine's own.
static bool define_globals(void) {
    static const char *const levels[] = {"debug", "error", "info", "log", "warn"};
    JSValue global = JS_GetGlobalObject(context);
    JSValue console = JS_NewObject(context);
    bool done = true;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) done &= define(console, levels[i], console_log, 0);
    int flags = JS_PROP_CONFIGURABLE | JS_PROP_WRITABLE;
    done &= JS_DefinePropertyValueStr(context, global, "console", console, flags) >= 0;
    done &= define(global, "host", host, 1);
    JSValue made = JS_GetPropertyStr(context, global, "host");
    done &= define(made, "isProxy", is_proxy, 1);
    done &= define(made, "strToBuf", text_to_buffer, 1);
    JS_FreeValue(context, made);
    made = JS_GetPropertyStr(context, global, "JSON");
    done &= define(made, "parse", json_parse, 2);
    JS_FreeValue(context, made);
    JS_FreeValue(context, global);
    return done;
}

EXPORT(begin) int32_t guest_begin(size_t stack_bytes) {
    runtime = JS_NewRuntime();
    if (!runtime) return THREW;
    JS_SetMaxStackSize(runtime, stack_bytes);
    JS_SetGCThreshold(runtime, COLLECTION_BYTES);
    JS_SetModuleLoaderFunc(runtime, NULL, load, NULL);
    context = JS_NewContextRaw(runtime);
    if (!context) return THREW;
    JS_AddIntrinsicRegExpCompiler(context);
    // Weak references would show when memory is collected, and are left out.
    bool done = !JS_AddIntrinsicBaseObjects(context) && !JS_AddIntrinsicDate(context) && !JS_AddIntrinsicEval(context)
        && !JS_AddIntrinsicRegExp(context) && !JS_AddIntrinsicJSON(context) && !JS_AddIntrinsicProxy(context)
        && !JS_AddIntrinsicMapSet(context) && !JS_AddIntrinsicTypedArrays(context)
        && !JS_AddIntrinsicPromise(context) && !JS_AddIntrinsicBigInt(context);
    output.bytes = malloc(OUTPUT_BYTES_MIN);
    output.capacity = OUTPUT_BYTES_MIN;
    return done && output.bytes && define_globals() ? DONE : THREW;
}

// Does what promises wait for, until nothing is left.
static bool settle(void) {
    JSContext *of;
    int done;
    while ((done = JS_ExecutePendingJob(runtime, &of)) > 0) continue;
    return done == 0;
}

// Replaces a promise by what it became. False if it is open.
static bool settled(JSValue *value) {
    if (!JS_IsObject(*value)) return true;
    JSPromiseStateEnum state = JS_PromiseState(context, *value);
    if (state == JS_PROMISE_PENDING) return false;
    if (state == JS_PROMISE_FULFILLED || state == JS_PROMISE_REJECTED) {
        JSValue result = JS_PromiseResult(context, *value);
        JS_FreeValue(context, *value);
        *value = state == JS_PROMISE_FULFILLED ? result : JS_Throw(context, result);
    }
    return true;
}

// Settles what was evaluated, and says what came of it.
static int32_t finish(JSValue *value) {
    if (JS_IsException(*value) || !settle()) return exception(malformed ? MALFORMED : THREW);
    if (!settled(value)) return UNSETTLED;
    return JS_IsException(*value) ? exception(malformed ? MALFORMED : THREW) : DONE;
}

// Runs a script in the global scope.
EXPORT(script) int32_t guest_script(const char *name, const char *text, size_t length) {
    int flags = JS_EVAL_TYPE_GLOBAL | JS_EVAL_FLAG_STRICT | JS_EVAL_FLAG_COMPILE_ONLY;
    JSValue made = JS_Eval(context, text, length, name, flags);
    if (JS_IsException(made)) return exception(MALFORMED);
    JSValue value = JS_EvalFunction(context, made);
    int32_t outcome = finish(&value);
    JS_FreeValue(context, value);
    return outcome;
}

// Makes a source known under a name. The guest keeps both.
EXPORT(add) int32_t guest_add(const char *name, const char *text, size_t length) {
    Source *source = calloc(1, sizeof *source);
    if (!source) return THREW;
    source->name = name;
    source->text = text;
    source->length = length;
    source->next = sources;
    sources = source;
    return DONE;
}

// Compiles, links and evaluates a module and what it imports.
EXPORT(evaluate) int32_t guest_evaluate(const char *name) {
    malformed = false;
    JSModuleDef *module = compiled(context, name);
    if (!module) return exception(MALFORMED);
    JSValue value = JS_EvalFunction(context, JS_DupValue(context, JS_MKPTR(JS_TAG_MODULE, module)));
    int32_t outcome = finish(&value);
    JS_FreeValue(context, value);
    malformed = false;
    return outcome;
}

// Puts out a record of what an evaluated module exports: the number of parameters of a function, null for the rest.
EXPORT(exports) int32_t guest_exports(const char *name) {
    Source *source = find(name);
    JSValue names = JS_GetModuleNamespace(context, source->module);
    JSPropertyEnum *members;
    uint32_t count;
    if (JS_IsException(names)) return exception(THREW);
    if (JS_GetOwnPropertyNames(context, &members, &count, names, JS_GPN_STRING_MASK)) return exception(THREW);
    output.length = 0;
    output.length_max = value_bytes_max;
    bool room = buffer_head(&output, TAG_RECORD, count);
    for (uint32_t i = 0; i < count && room; i++) {
        size_t length;
        const char *text = JS_AtomToCStringLen(context, &length, members[i].atom);
        if (!text) return exception(THREW);
        Leave left = buffer_text(context, &output, text, length);
        JS_FreeCString(context, text);
        if (left != LEAVE_OK) return exception(RESULT_REFUSED);
        JSValue member = JS_GetProperty(context, names, members[i].atom);
        if (JS_IsException(member)) return exception(THREW);
        int64_t parameters;
        if (JS_IsFunction(context, member)) {
            if (JS_GetLength(context, member, &parameters)) return exception(THREW);
            double number = (double)parameters;
            uint8_t tag = TAG_NUMBER;
            room = buffer_write(&output, &tag, 1) && buffer_write(&output, &number, sizeof number);
        } else {
            uint8_t tag = TAG_NULL;
            room = buffer_write(&output, &tag, 1);
        }
        JS_FreeValue(context, member);
    }
    if (room) return DONE;
    JS_ThrowRangeError(context, "the module exports more than what may leave the script");
    return exception(RESULT_REFUSED);
}

static int32_t apply(JSValueConst function, const uint8_t *arguments, size_t length) {
    const uint8_t *at = arguments;
    JSValue list = value_enter(context, &at, arguments + length, 0);
    int64_t count;
    if (JS_IsException(list) || JS_GetLength(context, list, &count)) return exception(THREW);
    JSValue *values = malloc((count ? (size_t)count : 1) * sizeof *values);
    if (!values) {
        JS_ThrowOutOfMemory(context);
        return exception(THREW);
    }
    for (int64_t i = 0; i < count; i++) values[i] = JS_GetPropertyInt64(context, list, i);
    JSValue value = JS_Call(context, function, JS_UNDEFINED, (int)count, (JSValueConst *)values);
    int32_t outcome = finish(&value);
    if (outcome != DONE) return outcome;
    output.length = 0;
    output.length_max = value_bytes_max;
    switch (value_leave(context, &output, value, 0)) {
    case LEAVE_OK:
        return DONE;
    case LEAVE_THREW:
        return exception(THREW);
    default:
        return exception(RESULT_REFUSED);
    }
}

// Calls a function that an evaluated module exports, with a list of values, and puts its result out.
EXPORT(apply) int32_t guest_apply(const char *name, const char *export, const uint8_t *arguments, size_t length) {
    Source *source = find(name);
    JSValue names = JS_GetModuleNamespace(context, source->module);
    if (JS_IsException(names)) return exception(THREW);
    JSValue function = JS_GetPropertyStr(context, names, export);
    if (JS_IsException(function)) return exception(THREW);
    if (!JS_IsFunction(context, function)) return NO_FUNCTION;
    return apply(function, arguments, length);
}
