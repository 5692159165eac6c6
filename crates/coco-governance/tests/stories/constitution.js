// A small constitution for tests: a majority of active members decides.
const one = new ArrayBuffer(8);
const table = (name) => ccf.kv[`public:ccf.gov.${name}`];

const actions = {
    set_member: {
        validate: ({ cert }) => {
            if (!ccf.crypto.isValidX509CertBundle(cert)) throw new Error("cert is no certificate");
        },
        apply: ({ cert, member_data, encryption_pub_key }) => {
            const id = ccf.strToBuf(ccf.pemToId(cert));
            table("members.certs").set(id, ccf.strToBuf(cert));
            table("members.info").set(id, ccf.jsonCompatibleToBuf({ member_data, status: "Accepted" }));
            if (encryption_pub_key) {
                table("members.encryption_public_keys").set(id, ccf.strToBuf(encryption_pub_key));
            }
            const { root } = ccf.bufToJsonCompatible(ccf.kv["public:ccf.internal.signatures"].get(one));
            table("members.acks").set(id, ccf.jsonCompatibleToBuf({ state_digest: root }));
        },
    },
    remove_member: {
        apply: ({ member_id }) => {
            const id = ccf.strToBuf(member_id);
            for (const name of ["members.info", "members.certs", "members.acks"]) table(name).delete(id);
        },
    },
    set_constitution: {
        apply: ({ constitution }) => {
            table("constitution").set(one, ccf.jsonCompatibleToBuf(constitution));
        },
    },
    check_constitution: {
        validate: ({ constitution }) => ccf.gov.validateConstitution(constitution),
        apply: () => {},
    },
    set_note: {
        apply: ({ text }) => {
            table("roles").set(ccf.strToBuf("note"), ccf.strToBuf(text));
        },
    },
    set_window: {
        apply: ({ size }) => {
            table("service.config").set(one, ccf.jsonCompatibleToBuf({ recent_cose_proposals_window_size: size }));
        },
    },
    write_and_throw: {
        apply: () => {
            table("roles").set(ccf.strToBuf("note"), ccf.strToBuf("half"));
            throw new Error("as always");
        },
    },
    run: {
        apply: ({ what }) => { probes[what](); },
    },
    trigger: {
        apply: ({ what, args }) => {
            ccf.node[what](...(args ?? []).map((arg) => arg === null ? undefined : ccf.strToBuf(arg)));
        },
    },
};

// What a constitution might try.
const probes = {
    private_table: () => ccf.kv["evm.accounts"].get(one),
    write_internal: () => ccf.kv["public:ccf.internal.last_recovery_type"].set(one, one),
    write_application: () => ccf.kv["public:notes"].set(one, one),
    unknown_table: () => table("no.such.table").set(one, one),
    long_key: () => table("roles").set(new ArrayBuffer(4097), one),
    much: () => { for (let i = 0; i < 9; i++) table("roles").set(ccf.strToBuf(`${i}`), new ArrayBuffer(1 << 20)); },
    loop: () => { for (;;); },
    allocate: () => { const all = []; for (;;) all.push(new ArrayBuffer(1 << 20)); },
    no_value: () => table("roles").set(one),
    network_key: () => ccf.network.generateNetworkCertificate("2023-01-01", 1),
    effects: () => { for (;;) ccf.node.triggerSnapshot(); },
    lists: () => {
        const roles = table("roles");
        for (let i = 0; i < 600; i++) roles.set(ccf.strToBuf(`${1000 + i}`), ccf.strToBuf(`${i}`));
        if (roles.size !== 600) throw new Error(`size is ${roles.size}`);
        let next = 0;
        roles.forEach((value, key, map) => {
            if (map !== roles || ccf.bufToStr(key) !== `${1000 + next}` || ccf.bufToStr(value) !== `${next}`) {
                throw new Error(`row ${next} is ${ccf.bufToStr(key)}`);
            }
            next++;
            // Written below and above: seen by nobody here.
            roles.set(ccf.strToBuf(`0${next}`), one).set(ccf.strToBuf(`9${next}`), one);
        });
        if (next !== 600 || roles.size !== 1800) throw new Error(`${next} rows, then ${roles.size}`);
        if (!roles.delete(ccf.strToBuf("1000")) || roles.has(ccf.strToBuf("1000"))) throw new Error("still there");
        if (roles.delete(ccf.strToBuf("1000"))) throw new Error("there twice");
        roles.clear();
        if (roles.size !== 0) throw new Error("not clear");
        roles.set(ccf.strToBuf("note"), ccf.strToBuf("lists"));
    },
    certificates: () => {
        const { isValidX509CertBundle, isValidX509CertChain, isValidX509RootCACert } = ccf.crypto;
        const certs = [];
        table("members.certs").forEach((value) => certs.push(ccf.bufToStr(value)));
        const [one, two] = certs;
        const expect = (found, expected, what) => {
            if (found !== expected) throw new Error(`${what} is ${found}`);
        };
        expect(isValidX509CertBundle(one + two), true, "a bundle");
        expect(isValidX509CertBundle("nonsense"), false, "nonsense");
        expect(isValidX509CertBundle(""), false, "nothing");
        // The members' certificates are signed by themselves.
        expect(isValidX509RootCACert(one), true, "a root");
        expect(isValidX509RootCACert(one + two), false, "two roots");
        expect(isValidX509CertChain(one, one), true, "a root under itself");
        expect(isValidX509CertChain(one, two + one), true, "a root under two");
        expect(isValidX509CertChain(one, two), false, "a root under another");
        expect(isValidX509CertChain(one + two, two), false, "a chain that is none");
        let is_member = false;
        table("members.info").forEach((_, key) => { is_member ||= ccf.bufToStr(key) === ccf.pemToId(two); });
        expect(is_member, true, "the id of a certificate");
    },
    digests: () => {
        const hex = [...new Uint8Array(ccf.crypto.digest("SHA-256", ccf.strToBuf("abc")))]
            .map((byte) => byte.toString(16).padStart(2, "0")).join("");
        if (hex !== "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") throw new Error(hex);
        if (ccf.bufToStr(new Uint8Array([97, 255]).buffer) !== "a\ufffd") throw new Error("not replaced");
        if (ccf.network.getLatestLedgerSecretSeqno() !== 7) throw new Error("another secret");
        const tcb = JSON.stringify(ccf.tcbHexToPolicy("00A00F11", "D31C000000000005"));
        const milan = { hexstring: "d31c000000000005", microcode: 211, snp: 28, tee: 0, boot_loader: 5 };
        if (tcb !== JSON.stringify(milan)) throw new Error(tcb);
        for (const [cpuid, version] of [["00a00f11", "0"], ["00a00f1", "0".repeat(16)], ["00a00f11", "g".repeat(16)], ["12345678", "0".repeat(16)]]) {
            try { ccf.tcbHexToPolicy(cpuid, version); } catch { continue; }
            throw new Error(`${version} of ${cpuid} is taken`);
        }
        try { ccf.node.triggerACMERefresh(); } catch ({ message }) {
            if (message === "ccf.node.triggerACMERefresh is not offered by this service") return;
            throw new Error(message);
        }
        throw new Error("certificates from elsewhere");
    },
};

export function validate(input) {
    const proposal = JSON.parse(input);
    const errors = [];
    for (const { name, args } of proposal.actions) {
        if (!Object.hasOwn(actions, name)) errors.push(`${name}: no such action`);
        else {
            try { actions[name].validate?.(args); } catch (error) { errors.push(`${name}: ${error.message}`); }
        }
        // Validation must not write, whoever asks for it.
        try {
            table("roles").set(one, one);
            errors.push("validate can write");
        } catch {}
    }
    return { valid: errors.length === 0, description: errors.join(", ") };
}

export function resolve(proposal, proposerId, votes, proposalId) {
    const known = ccf.bufToJsonCompatible(table("proposals_info").get(ccf.strToBuf(proposalId)));
    if (known.state !== "Open" || known.proposer_id !== proposerId) throw new Error("another proposal");
    let active = 0;
    table("members.info").forEach((info) => {
        if (ccf.bufToJsonCompatible(info).status === "Active") active++;
    });
    const yes = votes.filter(({ vote }) => vote).length;
    if (yes * 2 > active) return "Accepted";
    return (votes.length - yes) * 2 >= active ? "Rejected" : "Open";
}

export function apply(proposal, proposalId) {
    for (const { name, args } of JSON.parse(proposal).actions) actions[name].apply(args, proposalId);
}
