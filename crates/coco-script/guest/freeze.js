// Run after the preludes and before the first line of any module: nothing that modules share can be changed from here on.
(() => {
    const { isProxy } = host;
    delete globalThis.host;
    const { defineProperty, freeze, getOwnPropertyDescriptor, getOwnPropertyDescriptors, getPrototypeOf, hasOwn } = Object;
    const { ownKeys } = Reflect;

    // An object cannot be given a member by assignment if its prototype has a frozen one of that name. For names that
    // programs do assign, such as `error.name`, an accessor takes the member's place that lets them.
    const behind = [];
    const overridable = (prototype, names) => {
        for (const name of names) {
            const known = hasOwn(prototype, name) ? getOwnPropertyDescriptor(prototype, name) : undefined;
            if (!known || !("value" in known)) continue;
            const { value } = known;
            behind.push(value);
            const get = () => value;
            const set = function (replacement) {
                if (this === prototype) throw new TypeError(`${name} is read-only here`);
                if (hasOwn(this, name)) this[name] = replacement;
                else defineProperty(this, name, { value: replacement, writable: true, enumerable: true, configurable: true });
            };
            defineProperty(prototype, name, { get, set, enumerable: known.enumerable, configurable: false });
        }
    };
    overridable(Object.prototype, ["constructor", "hasOwnProperty", "toLocaleString", "toString", "valueOf"]);
    overridable(Function.prototype, ["apply", "bind", "call", "constructor", "toString"]);
    const errors = [Error, AggregateError, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError];
    for (const { prototype } of errors) overridable(prototype, ["constructor", "message", "name", "toString"]);

    // What has no name, but can be reached from a literal.
    const nameless = [
        function* () {}, async function () {}, async function* () {},
        [][Symbol.iterator](), ""[Symbol.iterator](), new Map().entries(), new Set().entries(), "".matchAll(/a/g),
        (function* () {})(), (async function* () {})(), [].values().map((x) => x), Iterator.from({ next() {} }),
    ];
    const seen = new Set();
    const open = [globalThis, ...nameless.map(getPrototypeOf)];
    const add = (value) => {
        const isObject = (typeof value === "object" && value !== null) || typeof value === "function";
        if (!isObject || seen.has(value) || isProxy(value)) return;
        seen.add(value);
        open.push(value);
    };
    behind.forEach(add);
    while (open.length > 0) {
        const object = open.pop();
        add(getPrototypeOf(object));
        const members = getOwnPropertyDescriptors(object);
        for (const name of ownKeys(members)) {
            const { get, set, value } = members[name];
            add(get);
            add(set);
            add(value);
        }
        // Elements of typed arrays cannot be frozen. What a prelude publishes should hold none.
        if (ArrayBuffer.isView(object)) Object.preventExtensions(object);
        else freeze(object);
    }
})();
