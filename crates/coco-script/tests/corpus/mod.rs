//! Scripts that mean harm: bodies of a function, or modules where they export something. None has a result that anybody can use.

/// They do not end.
pub(crate) const ENDLESS: &[&str] = &[
    "for (;;);",
    "while (true) { try { throw 1; } catch {} finally { continue; } }",
    "const f = () => { for (;;); }; return { get a() { return f(); } };",
    "const p = () => Promise.resolve().then(p); return p();",
    "function* g() { for (;;) yield; } for (const x of g());",
    "for (const x of { [Symbol.iterator]: () => ({ next: () => ({}) }) });",
    "return Object.keys(new Proxy({}, { ownKeys() { for (;;); } }));",
    "return JSON.stringify(new Proxy([], { get: (o, k) => k === 'length' ? 1e6 : new Proxy([], { get: () => 9 }) }));",
    "return { get a() { return { get a() { for (;;); } }; } };",
    "const a = { toString() { for (;;); } }; console.log(a);",
    "throw { get message() { for (;;); } };",
    "let o = {}; Object.setPrototypeOf(o, new Proxy({}, { getPrototypeOf: () => o, get: (t, k, r) => r[k] })); return o.x;",
    "for (;;); export const f = 1;",
];

/// They take long inside of one call of what is built in.
pub(crate) const HARD_WORK: &[&str] = &[
    "return Array.prototype.join.call({ length: 2 ** 31 }, '');",
    "return Array.prototype.indexOf.call({ length: 2 ** 52 }, 1);",
    "return [].concat.call([], ...Array(1000).fill(Array(2 ** 31)));",
    "return Array.prototype.sort.call(new Proxy({ length: 2 ** 31 }, { has: () => true, get: (o, k) => k === 'length' ? 2 ** 31 : 1 }));",
    "return Array.from({ length: 2 ** 31 }).length;",
    "return 'x'.repeat(1e6).split('').length;",
    "return /^(a+)+$/.test('a'.repeat(40) + '!');",
    "return /(x+x+)+y/.test('x'.repeat(40));",
    "return /^(([a-z])+.)+[A-Z]([a-z])+$/.test('a'.repeat(40));",
    "let n = 3n; for (;;) n = n * n;",
    "return (2n ** 1000000n).toString();",
    "return '\\u0041'.repeat(4e5).normalize('NFKD').toLowerCase().localeCompare('z'.repeat(4e5));",
    "return JSON.parse('[' + '1,'.repeat(5e5) + '1]').length;",
    "return new Uint8Array(4e6).fill(1).sort().reduce((a, b) => a + b);",
];

/// They want all memory.
pub(crate) const MEMORY: &[&str] = &[
    "let s = 'ab'; for (;;) s += s;",
    "const a = []; for (;;) a.push('x'.repeat(1000) + a.length);",
    "const a = []; for (;;) a.push(new ArrayBuffer(100000));",
    "return new ArrayBuffer(2 ** 30).byteLength;",
    "return new Uint8Array(2 ** 31 - 1).length;",
    "const m = new Map(); for (;;) m.set({}, new Array(1000).fill(0));",
    "const s = new Set(); for (let i = 0;; i++) s.add('k' + 'x'.repeat(500) + i);",
    "let f = () => 0; for (;;) { const g = f, a = new Array(500).fill(0); f = () => [g, a]; }",
    "let o = {}; for (;;) o = { o, a: 'x'.repeat(2000) };",
    "return Array(2 ** 25).fill('x').length;",
    "return 'x'.repeat(2 ** 28).length;",
    "return 'x'.padEnd(2 ** 29, 'y');",
    "const a = [1]; for (;;) a.push(...a);",
    "return (1n << 100000000n) + 1n;",
    "return JSON.stringify(Array(1000).fill('x'.repeat(10000)));",
    "return Symbol('x'.repeat(2 ** 27)).description;",
];

/// They call without end.
pub(crate) const CALLS_TOO_DEEP: &[&str] = &[
    "const f = () => f() + 1; return f();",
    "const f = () => [1].map(f); return f();",
    "class A { get a() { return this.a; } } return new A().a;",
    "const o = { toString() { return '' + this; } }; return '' + o;",
    "const p = new Proxy({}, { get: (t, k, r) => r[k] }); return p.x;",
    "let f = () => 1; for (let i = 0; i < 8000; i++) { const g = f; f = () => g(); } return f();",
    "const f = (s) => s.replace(/a/, () => f(s)); return f('a');",
    "const f = (...a) => f.apply(null, a); return f(1, 2, 3);",
];

/// They nest values without end.
pub(crate) const VALUES_TOO_DEEP: &[&str] = &[
    "return JSON.parse('['.repeat(100000));",
    "return JSON.parse('{\"a\":'.repeat(10000) + '1' + '}'.repeat(10000));",
    "let o = {}; for (let i = 0; i < 10000; i++) o = { o }; return JSON.stringify(o);",
    "let a = []; for (let i = 0; i < 10000; i++) a = [a]; return '' + a;",
    "return new RegExp('('.repeat(50000) + ')'.repeat(50000));",
    "return new RegExp('(?:'.repeat(20000) + 'a' + ')*'.repeat(20000)).test('a');",
    "let o = null; for (let i = 0; i < 10000; i++) o = Object.create(o); return o.x.y;",
    "let p = {}; for (let i = 0; i < 10000; i++) p = new Proxy(p, {}); return p.x.y;",
];

/// They return what cannot leave.
pub(crate) const RESULTS: &[&str] = &[
    "const a = []; a.push(a); return a;",
    "const o = {}; o.o = o; return o;",
    "let o = {}; for (let i = 0; i < 65; i++) o = [o]; return o;",
    "return 'x'.repeat(70000);",
    "return new Uint8Array(70000);",
    "return new Array(4e9);",
    "return new Array(1e5).fill(0);",
    "return () => 1;",
    "return { f() {} };",
    "return Symbol();",
    "return 10n;",
    "return '\\ud800';",
    "return { ['\\udfff']: 1 };",
    "return new Float64Array(1);",
    "return new Proxy({}, {});",
    "return [new Proxy([], { get: () => 1 })];",
];

/// What they return throws when it is read.
pub(crate) const RESULTS_THAT_THROW: &[&str] = &[
    "return { get a() { throw new Error('got'); } };",
    "return [0].map(() => ({ get a() { throw new Error('got'); } }));",
    "return Object.defineProperty([0], 0, { get() { throw new Error('got'); } });",
];

/// They throw what throws when it is told.
pub(crate) const EXCEPTIONS: &[&str] = &[
    "throw { get message() { throw 1; }, get stack() { throw 2; }, get name() { throw 3; } };",
    "throw { toString() { throw this; } };",
    "throw { toString() { for (;;); } };",
    "throw Symbol('x');",
    "throw new Proxy({}, { get() { throw 1; } });",
    "throw Object.create(null);",
    "throw undefined;",
    "const e = new Error('x'); Object.defineProperty(e, 'stack', { value: 1 }); throw e;",
    "throw new Error('\\ud800'.repeat(10000));",
    "throw 'x'.repeat(1e5);",
];

/// They change what all scripts share.
pub(crate) const FROZEN: &[&str] = &[
    "Object.prototype.x = 1;",
    "Array.prototype.push = () => 1;",
    "globalThis.x = 1;",
    "JSON.parse = () => 1;",
    "console.log = 1;",
    "Map.prototype.get.call.x = 1;",
    "(function* () {}).prototype.__proto__.next = 1;",
    "[][Symbol.iterator]().__proto__.next = () => ({ done: true });",
    "Object.defineProperty(Function.prototype, 'call', { value: 1 });",
    "Object.setPrototypeOf(Array.prototype, null);",
    "delete Object.prototype.toString;",
    "Object.prototype.toString = 1;",
    "Error.prototype.name = 'x';",
    "({}).__proto__.x = 1;",
    "Reflect.getPrototypeOf(async () => 1).x = 1;",
    "Uint8Array.__proto__.prototype.x = 1;",
    "RegExp.prototype.exec = () => null;",
    "Promise.prototype.then = 1;",
    "Error.prepareStackTrace = () => 1;",
    "Error.stackTraceLimit = 0;",
    "Error.captureStackTrace({});",
];

/// They ask for the time, or make code of texts.
pub(crate) const NOT_THERE: &[&str] = &[
    "return new Date()",
    "return Date()",
    "return Reflect.construct(Date, [])",
    "return new Date(0).constructor()",
    "return Function('return 1')()",
    "return (() => 1).constructor('return 1')()",
    "return (function* () {}).constructor('yield 1')()",
    "return (async () => 1).constructor('return 1')()",
    "class A extends Function {} return new A('return 1')()",
];
