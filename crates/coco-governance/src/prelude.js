// The `ccf` object that constitutions and ballots see. All of it ends in the host's one function.
(() => {
    "use strict";
    const ask = host;
    const bytes = (value, what) => {
        if (!(value instanceof ArrayBuffer)) throw new TypeError(`${what} must be an ArrayBuffer`);
        return value;
    };
    const text = (value, what) => {
        if (typeof value !== "string") throw new TypeError(`${what} must be a string`);
        return value;
    };

    class KvMap {
        #name;
        constructor(name) { this.#name = name; }
        get(key) { return ask("get", this.#name, bytes(key, "key")); }
        has(key) { return ask("has", this.#name, bytes(key, "key")); }
        set(key, value) {
            ask("set", this.#name, bytes(key, "key"), bytes(value, "value"));
            return this;
        }
        delete(key) { return ask("delete", this.#name, bytes(key, "key")); }
        // Rows come in pages, all of them before the first is handed on: what a callback writes is not seen by it.
        #rows() {
            const rows = [];
            let after;
            for (;;) {
                const page = ask("page", this.#name, after);
                if (page.length === 0) return rows;
                for (const row of page) rows.push(row);
                after = page[page.length - 1][0];
            }
        }
        clear() { for (const [key] of this.#rows()) this.delete(key); }
        get size() { return this.#rows().length; }
        forEach(callback) {
            if (typeof callback !== "function") throw new TypeError("the callback must be a function");
            for (const [key, value] of this.#rows()) callback(value, key, this);
        }
    }
    // Nothing but the proxy leads to these, and what is behind a proxy is frozen by nobody else.
    Object.freeze(KvMap.prototype);
    Object.freeze(KvMap);
    const maps = Object.create(null);
    const refuse = () => { throw new TypeError("ccf.kv cannot be changed"); };
    const kv = new Proxy(Object.create(null), {
        get(_, name) {
            if (typeof name !== "string") return undefined;
            return maps[name] ??= Object.freeze(new KvMap(name));
        },
        set: refuse, defineProperty: refuse, deleteProperty: refuse, setPrototypeOf: refuse, preventExtensions: refuse,
    });

    const { strToBuf } = host;
    const bufToStr = (buffer) => ask("bufToStr", bytes(buffer, "argument"));
    const jsonCompatibleToBuf = (value) => {
        const json = JSON.stringify(value);
        if (json === undefined) throw new TypeError("argument has no JSON form");
        return strToBuf(json);
    };
    const bufToJsonCompatible = (buffer) => JSON.parse(bufToStr(buffer));
    const digest = (algorithm, data) => ask("digest", text(algorithm, "algorithm"), bytes(data, "data"));
    const pemToId = (pem) => ask("pemToId", text(pem, "argument"));
    const jwkToPem = (jwk, kind) => {
        if (jwk?.kty !== kind) throw new TypeError(`kty must be ${kind}`);
        return ask("jwkToPem", JSON.stringify(jwk));
    };
    const rsaPemToJwk = (pem, kid) => {
        const jwk = JSON.parse(ask("rsaPemToJwk", text(pem, "argument")));
        return kid === undefined ? jwk : { ...jwk, kid: text(kid, "kid") };
    };

    // A TCB version as processors of AMD report it, part by part: which byte of it is which depends on the processor's family and
    // model. The first byte is the last in hexadecimal.
    const TCB_PARTS = {
        "19-01": { microcode: 7, snp: 6, tee: 1, boot_loader: 0 },
        "19-11": { microcode: 7, snp: 6, tee: 1, boot_loader: 0 },
        "1a-01": { microcode: 7, snp: 3, tee: 2, boot_loader: 1, fmc: 0 },
    };
    const hexadecimal = (value, digits, what) => {
        if (text(value, what).length !== digits || !/^[0-9a-f]*$/i.test(value)) throw new TypeError(`${what} must be ${digits} hexadecimal digits`);
        return value.toLowerCase();
    };
    const tcbHexToPolicy = (processor, version) => {
        const [cpuid, tcb] = [hexadecimal(processor, 8, "cpuid"), hexadecimal(version, 16, "tcb_version")];
        const number = (digits) => parseInt(digits, 16);
        const family = (number(cpuid.slice(1, 3)) + number(cpuid[5])) & 255;
        const parts = TCB_PARTS[`${family.toString(16).padStart(2, "0")}-${cpuid[3]}${cpuid[6]}`];
        if (parts === undefined) throw new Error(`${cpuid} is no processor whose TCB versions are known: Milan, Genoa or Turin`);
        const policy = { hexstring: tcb };
        for (const [name, at] of Object.entries(parts)) policy[name] = number(tcb.slice(14 - 2 * at, 16 - 2 * at));
        return policy;
    };

    // The keys of issuers of tokens: a row for each key id, with a list, since issuers may happen to use the same id.
    const tokenKeys = (issuer, jwks) => {
        if (!Array.isArray(jwks?.keys) || jwks.keys.length === 0) throw new TypeError("jwks has no keys");
        const found = new Map();
        for (const jwk of jwks.keys) {
            const constraint = jwk.issuer ?? undefined;
            if (constraint !== undefined && !ask("mayConstrain", text(constraint, "issuer of a key"), text(issuer, "issuer"))) {
                throw new Error(`the key ${jwk.kid} is for ${constraint}, of which ${issuer} is no part`);
            }
            found.set(text(jwk.kid, "kid"), { public_key: ask("jwkToTokenKey", JSON.stringify(jwk)), issuer, constraint });
        }
        return found;
    };
    // Leaves an issuer with exactly these keys.
    const replaceTokenKeys = (issuer, keys) => {
        const rows = kv["public:ccf.gov.jwt.public_signing_keys_metadata_v2"];
        text(issuer, "issuer");
        rows.forEach((row, id) => {
            const before = bufToJsonCompatible(row);
            const others = before.filter((key) => key.issuer !== issuer);
            if (others.length === before.length) return;
            if (others.length === 0) rows.delete(id);
            else rows.set(id, jsonCompatibleToBuf(others));
        });
        for (const [id, key] of keys) {
            const row = rows.get(strToBuf(id));
            const others = row === undefined ? [] : bufToJsonCompatible(row);
            rows.set(strToBuf(id), jsonCompatibleToBuf([...others, key]));
        }
    };
    const effect = (name) => () => { ask("effect", name); };
    const absent = (name) => () => { throw new Error(`${name} is not offered by this service`); };

    globalThis.ccf = {
        kv, strToBuf, bufToStr, jsonCompatibleToBuf, bufToJsonCompatible, digest, pemToId,
        crypto: {
            digest,
            isValidX509CertBundle: (pem) => ask("isValidX509CertBundle", text(pem, "argument")),
            isValidX509RootCACert: (pem) => ask("isValidX509RootCACert", text(pem, "argument")),
            pubJwkToPem: (jwk) => jwkToPem(jwk, "EC"),
            pubRsaJwkToPem: (jwk) => jwkToPem(jwk, "RSA"),
            pubRsaPemToJwk: rsaPemToJwk,
            // Ours: whether an organisation's users can be recognised by this certificate.
            isUserAuthority: (pem) => ask("isUserAuthority", text(pem, "argument")),
            // Ours: whether members' requests can be signed with the key of the first certificate of a text.
            isRequestSigner: (pem) => ask("isRequestSigner", text(pem, "argument")),
            isValidX509CertChain: (chain, trusted) =>
                ask("isValidX509CertChain", text(chain, "chain"), text(trusted, "trusted")),
        },
        gov: {
            validateConstitution: (source) => ask("validateConstitution", text(source, "argument")),
        },
        node: {
            triggerLedgerRekey: effect("triggerLedgerRekey"),
            triggerRecoverySharesRefresh: effect("triggerRecoverySharesRefresh"),
            triggerLedgerChunk: effect("triggerLedgerChunk"),
            triggerSnapshot: effect("triggerSnapshot"),
            // No node gets certificates from authorities of the web by itself.
            triggerACMERefresh: absent("ccf.node.triggerACMERefresh"),
            transitionServiceToOpen: (previous, next) => {
                if (previous !== undefined) bytes(previous, "previous identity");
                ask("effect", "transitionServiceToOpen", previous, bytes(next, "next identity"));
            },
        },
        network: {
            getLatestLedgerSecretSeqno: () => ask("ledgerSecretSeqno"),
            // As in CCF, of the request that the node has signed. Ours: or of the certificate that it has.
            generateEndorsedCertificate: (request, validFrom, days) => {
                if (typeof days !== "number") throw new TypeError("the days must be a number");
                return ask("endorsedCertificate", text(request, "request"), text(validFrom, "valid_from"), days);
            },
            generateNetworkCertificate: (validFrom, days) => {
                if (typeof days !== "number") throw new TypeError("the days must be a number");
                return ask("networkCertificate", text(validFrom, "valid_from"), days);
            },
        },
        setJwtPublicSigningKeys: (issuer, metadata, jwks) => { replaceTokenKeys(issuer, tokenKeys(issuer, jwks)); },
        removeJwtPublicSigningKeys: (issuer) => { replaceTokenKeys(issuer, new Map()); },
        tcbHexToPolicy,
        // There is no such cache here: sources are what is kept.
        refreshAppBytecodeCache: () => {},
    };
})();
