// Run first in every realm: takes away what differs from one run to the next, and what makes code of text.
(() => {
    const { defineProperty, defineProperties, getOwnPropertyDescriptor, getPrototypeOf } = Object;

    delete Math.random;
    delete globalThis.eval;
    // These write what no freezing reaches, and a stack trace hands out the functions on it, the host's among them.
    delete Error.prepareStackTrace;
    delete Error.stackTraceLimit;
    delete Error.captureStackTrace;

    // Calendars are arithmetic and stay; what asks for the current time goes.
    const Calendar = Date;
    const Dates = function Date(...parts) {
        if (!new.target || parts.length === 0) throw new TypeError("there is no clock here");
        return Reflect.construct(Calendar, parts, new.target);
    };
    defineProperties(Dates, {
        length: { value: 7 },
        parse: getOwnPropertyDescriptor(Calendar, "parse"),
        prototype: { value: Calendar.prototype, writable: false },
        UTC: getOwnPropertyDescriptor(Calendar, "UTC"),
    });
    defineProperty(Calendar.prototype, "constructor", { value: Dates });
    defineProperty(globalThis, "Date", { value: Dates });

    const kinds = [function () {}, function* () {}, async function () {}, async function* () {}];
    for (const prototype of kinds.map(getPrototypeOf)) {
        const { name } = prototype.constructor;
        const refuse = function () {
            throw new TypeError("code is not made from text here");
        };
        defineProperty(refuse, "name", { value: name });
        defineProperty(refuse, "prototype", { value: prototype, writable: false });
        defineProperty(prototype, "constructor", { value: refuse });
        if (name === "Function") defineProperty(globalThis, "Function", { value: refuse });
    }
})();
