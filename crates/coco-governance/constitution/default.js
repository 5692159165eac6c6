// THE CONSTITUTION
//
// How to read it. Members propose; a proposal is a list of ACTIONS. Each action says who may be affected and what is
// changed. A proposal is carried out when the VOTING POLICY of each of its actions is met, and all of it or nothing.
// The names of actions are those of CCF, the framework whose tools work here.

// ---------------------------------------------------------------------------------------------------------------------
// 1. Voting policy
//
// The policy is kept in a table, so that members change it by vote, with the action `set_voting_policy`. A change is
// decided under the policy before it, and under each rule of that which it changes. It has a rule for all actions, and
// rules for some of them:
//
//     { "default": RULE, "actions": { "set_constitution": RULE, ... }, "proposals_expire_after_s": SECONDS }
//
// A proposal that is not decided within these SECONDS, from an hour to 366 days, is dropped; 30 days where the policy does
// not say it. A RULE is one of
//
//     { "rule": "majority" }                           more than half of the active members
//     { "rule": "unanimous" }                          all of them
//     { "rule": "one" }                                any one of them
//     { "rule": "at_least", "members": 3 }             so many of them; all, while there are fewer
//     { "rule": "weighted", "weights": { ID: 2 }, "needed": 3 }   members whose weights add up to that
//
// and may have  "veto": [ID, ...] : members any of whom can stop the proposal by a vote against it.
//
// An AUTOMATIC rule lets each member do something alone, so many times. What is beyond that is decided by votes:
//
//     { "rule": "automatic", "per_member": 2, "otherwise": RULE }  the default rule, where `otherwise` is not said
//
// It is for `transition_node_to_trusted` only: a member's proposal of a new node that runs code which members have admitted is
// accepted at once, as long as no more than so many trusted nodes came by that member's word alone. A node that starts again
// in the place of one of them does not count anew, and one that is removed counts no more.

const POLICY_WITHOUT_A_VOTE = {
    default: { rule: "majority" },
    actions: { set_constitution: { rule: "unanimous" }, set_voting_policy: { rule: "unanimous" } },
};

const RULES = {
    majority: { fields: [], needed: (_, active) => Math.floor(active.length / 2) + 1 },
    unanimous: { fields: [], needed: (_, active) => active.length },
    one: { fields: [], needed: () => 1 },
    at_least: { fields: ["members"], needed: ({ members }, active) => Math.min(members, active.length) },
    weighted: { fields: ["weights", "needed"], needed: ({ needed }) => needed },
};

// What a rule makes of the votes: each active member weighs 1, unless the rule says otherwise.
function decide(rule, active, approving, refusing) {
    const weight = (members) => rule.rule === "weighted"
        ? members.reduce((sum, id) => sum + (rule.weights[id] ?? 0), 0)
        : members.length;
    if ((rule.veto ?? []).some((id) => refusing.includes(id))) return "Rejected";
    const needed = RULES[rule.rule].needed(rule, active);
    // Nobody is left, or nobody has weight: then nothing can be decided.
    if (needed < 1) return "Open";
    const possible = active.filter((id) => !refusing.includes(id));
    if (weight(approving) >= needed) return "Accepted";
    return weight(possible) < needed ? "Rejected" : "Open";
}

function policy() {
    return readRow("voting_policy", ONLY_ROW) ?? POLICY_WITHOUT_A_VOTE;
}

function setPolicy(policy) { table("voting_policy").set(ONLY_ROW, ccf.jsonCompatibleToBuf(policy)); }

// The rule by which votes on an action are counted.
function ruleOfVotes({ default: byDefault, actions: rules }, name) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : byDefault;
    return rule.rule === "automatic" ? rule.otherwise ?? byDefault : rule;
}

// An action that does what others do is decided under their rules as well: under all of them, each of which may be the default.
const DOES_AS_WELL = {
    set_member: ({ member_data }) => isSaid(member_data) ? ["set_member_data"] : [],
    // The weights and the vetoes of one go to the other.
    replace_member: ({ member_id, successor_id }) => isNamedIn(policy(), member_id)
        ? ["remove_member", "set_voting_policy", ...decidedOtherwise(withSuccessor(policy(), member_id, successor_id))]
        : ["remove_member"],
    set_user: ({ user_data }) => isSaid(user_data) ? ["set_user_data"] : [],
    // Whomever an organisation or an issuer vouches for is a participant.
    set_organisation: ({ name, user_data }) => isSaid(user_data) || isSaid(organisation(name)?.user_data) ? ["set_user", "set_user_data"] : ["set_user"],
    // An organisation that is removed and comes again would have no revocations.
    remove_organisation: ({ name }) => ccf.kv["public:coco.gov.organisations.revocations"].has(key(name)) ? ["set_organisation_revocations"] : [],
    set_jwt_issuer: ({ jwks, auto_refresh }) => isSaid(jwks) || auto_refresh === true ? ["set_user", "set_jwt_public_signing_keys"] : ["set_user"],
    // Members may have a rule of its own for who gets a vote, and let learners in by another.
    transition_node_to_trusted: ({ learner }) => learner !== true && Object.hasOwn(policy().actions, "promote_learner") ? ["promote_learner"] : [],
    promote_learner: () => ["transition_node_to_trusted"],
    replace_nodes: () => ["transition_node_to_trusted", "promote_learner", "remove_node"],
    set_all_nodes_certificate_validity: () => ["set_node_certificate_validity"],
    set_service_configuration: ({ recovery_threshold }) => recovery_threshold === undefined ? [] : ["set_recovery_threshold"],
    // Whoever changes a rule could do next what it guards, and another constitution could do anything.
    set_voting_policy: (next) => decidedOtherwise(next),
    set_constitution: () => Object.keys(ACTIONS),
};
// A proposal may have a thousand actions of few names, which are decided alike.
function namesOfRules(actions) {
    const names = new Set();
    for (const { name, args } of actions) {
        names.add(name);
        if (Object.hasOwn(DOES_AS_WELL, name)) for (const other of DOES_AS_WELL[name](args ?? {})) names.add(other);
    }
    return [...names];
}

// The actions that another policy has another rule for.
function decidedOtherwise(next) {
    const before = policy();
    const rules = (policy, name) => JSON.stringify([policy.actions[name] ?? policy.default, ruleOfVotes(policy, name)]);
    return Object.keys(ACTIONS).filter((name) => rules(before, name) !== rules(next, name));
}

const AUTOMATIC = "transition_node_to_trusted";

// Those of a member's actions that its word alone decides.
function decidedAlone(actions, memberId) {
    const rule = policy().actions[AUTOMATIC];
    if (rule?.rule !== "automatic" || !activeMembers().includes(memberId)) return new Set();
    const left = rule.per_member - placesGivenBy(memberId);
    const fit = actions.filter(({ name, args }) => name === AUTOMATIC && isNewcomerWithAdmittedCode(args.node_id));
    return new Set(fit.slice(0, Math.max(left, 0)));
}

// How many trusted nodes are there by the word of this member alone. A node that starts again has another id, and the place
// of the one before it.
function placesGivenBy(memberId) {
    const places = new Set();
    // One that is quarantined comes back, and counts.
    table("nodes.info").forEach((row, id) => {
        const { status, seat } = ccf.bufToJsonCompatible(row);
        const place = seat ?? ccf.bufToStr(id);
        if (status !== "Retired" && readRow("automatic_votes", key(place))?.member_id === memberId) places.add(place);
    });
    return places.size;
}

// ---------------------------------------------------------------------------------------------------------------------
// 2. Actions
//
// `takes` names all that may be said of the action: whoever signs more would sign what is not done, or not shown. `check` looks
// at what was proposed alone; `apply` makes the change, or stops the whole proposal.

const ACTIONS = {
    // Members ---------------------------------------------------------------------------------------------------------

    // Admits a member. It votes once it has acknowledged the state of the service. Of one that is a member already it changes the
    // encryption key, the part in recovery and the data, as far as they are said; it goes on voting, as the key that signs is the same.
    set_member: {
        takes: ["cert", "member_data", "recovery_role", "encryption_pub_key"],
        check: (args) => {
            expectCertificate(args.cert, "cert");
            expectSigner(args.cert);
            expectOptional(args.member_data, "object", "member_data");
            expectOptional(args.encryption_pub_key, "string", "encryption_pub_key");
            if (args.recovery_role !== undefined) {
                expect(["NonParticipant", "Participant", "Owner"].includes(args.recovery_role), "recovery_role is unknown");
                expect(args.encryption_pub_key, "a recovery_role needs an encryption_pub_key");
            }
        },
        apply: ({ cert, member_data, recovery_role, encryption_pub_key }) => {
            const id = ccf.pemToId(cert);
            if (isMember(id)) return changeMember(id, { member_data, recovery_role, encryption_pub_key });
            writeText("members.certs", id, cert);
            if (encryption_pub_key) writeText("members.encryption_public_keys", id, encryption_pub_key);
            writeRow("members.info", id, { member_data, recovery_role, status: "Accepted" });
            const signature = ccf.kv["public:ccf.internal.signatures"].get(ONLY_ROW);
            expect(signature !== undefined, "the service has not signed its ledger yet");
            writeRow("members.acks", id, { state_digest: ccf.bufToJsonCompatible(signature).root });
        },
    },
    // Expels a member, and takes its weights and vetoes out of the voting policy. The last active one stays, and enough of those who
    // can recover the service.
    remove_member: {
        takes: ["member_id"],
        check: (args) => expectId(args.member_id, "member_id"),
        apply: ({ member_id }) => {
            if (!isMember(member_id)) return;
            if (isNamedIn(policy(), member_id)) setPolicy(withoutMember(policy(), member_id));
            removeMember(member_id);
        },
    },
    // Expels a member in whose place another one comes, or the same with another key: admitted before, and active. It takes over
    // the weights and the vetoes that the voting policy gives.
    replace_member: {
        takes: ["member_id", "successor_id"],
        check: (args) => {
            expectId(args.member_id, "member_id");
            expectId(args.successor_id, "successor_id");
        },
        apply: ({ member_id, successor_id }) => {
            expect(isMember(member_id), `${member_id} is no member`);
            const others = activeMembers().filter((id) => id !== member_id);
            expect(others.includes(successor_id), `${successor_id} is no other active member: admit it first, and let it acknowledge`);
            expect(!isNamedIn(policy(), successor_id), `the voting policy names ${successor_id} already: change it by set_voting_policy, and remove ${member_id}`);
            if (isNamedIn(policy(), member_id)) setPolicy(withSuccessor(policy(), member_id, successor_id));
            removeMember(member_id);
        },
    },
    set_member_data: {
        takes: ["member_id", "member_data"],
        check: (args) => {
            expectId(args.member_id, "member_id");
            expectType(args.member_data, "object", "member_data");
        },
        apply: ({ member_id, member_data }) => {
            const member = readRow("members.info", key(member_id));
            expect(member !== undefined, `${member_id} is no member`);
            writeRow("members.info", member_id, { ...member, member_data });
        },
    },

    // Participants, who use the service and do not vote -----------------------------------------------------------------

    // What is not said of one who is a participant already stays as it is.
    set_user: {
        takes: ["cert", "user_data"],
        check: (args) => {
            expectCertificate(args.cert, "cert");
            expectOptional(args.user_data, "object", "user_data");
        },
        apply: ({ cert, user_data }) => {
            const id = ccf.pemToId(cert);
            writeText("users.certs", id, cert);
            if (isSaid(user_data)) setUserData(id, user_data);
        },
    },
    remove_user: {
        takes: ["user_id"],
        check: (args) => expectId(args.user_id, "user_id"),
        apply: ({ user_id }) => {
            erase("users.certs", user_id);
            erase("users.info", user_id);
        },
    },
    set_user_data: {
        takes: ["user_id", "user_data"],
        check: (args) => {
            expectId(args.user_id, "user_id");
            expectOptional(args.user_data, "object", "user_data");
        },
        apply: ({ user_id, user_data }) => setUserData(user_id, user_data),
    },

    // Organisations whose users are participants without being registered: whoever has a certificate that the
    // organisation's authority issued, as long as it is valid and not revoked. `user_data` is said of all of them.
    set_organisation: {
        takes: ["name", "cert", "user_data"],
        check: (args) => {
            expectName(args.name);
            expectType(args.cert, "string", "cert");
            expect(ccf.crypto.isUserAuthority(args.cert), "cert must be one certificate of an authority, in PEM");
            expectOptional(args.user_data, "object", "user_data");
        },
        // Another certificate takes the place of the one before, and its users with it. What is revoked stays so.
        apply: ({ name, cert, user_data }) => {
            const organisations = ccf.kv["public:coco.gov.organisations.info"];
            let count = organisations.has(key(name)) ? 0 : 1;
            organisations.forEach((row, other) => {
                count += 1;
                expect(ccf.bufToStr(other) === name || ccf.pemToId(ccf.bufToJsonCompatible(row).cert) !== ccf.pemToId(cert),
                    `this is the certificate of ${ccf.bufToStr(other)}`);
            });
            expect(count <= ORGANISATIONS_MAX, `there are ${ORGANISATIONS_MAX} organisations already`);
            organisations.set(key(name), ccf.jsonCompatibleToBuf({ cert, user_data: user_data ?? undefined }));
        },
    },
    remove_organisation: {
        takes: ["name"],
        check: (args) => expectName(args.name),
        apply: ({ name }) => {
            ccf.kv["public:coco.gov.organisations.info"].delete(key(name));
            ccf.kv["public:coco.gov.organisations.revocations"].delete(key(name));
        },
    },
    // Says which of an organisation's certificates count no more: all of them, by serial number in hexadecimal.
    set_organisation_revocations: {
        takes: ["name", "serials"],
        check: ({ name, serials }) => {
            expectName(name);
            expect(Array.isArray(serials) && serials.length <= 1000, "serials must be a list of at most 1000");
            serials.forEach((serial) => expect(isText(serial, 64) && /^[0-9a-f]+$/.test(plainSerial(serial)),
                "each of serials must be a number in hexadecimal"));
        },
        apply: ({ name, serials }) => {
            expect(ccf.kv["public:coco.gov.organisations.info"].has(key(name)), `there is no organisation ${name}`);
            const sorted = [...new Set(serials.map(plainSerial))].sort();
            ccf.kv["public:coco.gov.organisations.revocations"].set(key(name), ccf.jsonCompatibleToBuf(sorted));
        },
    },

    // Issuers of tokens (JWT), whose bearers are participants ---------------------------------------------------------

    // Certificates by which the servers of issuers are recognised.
    set_ca_cert_bundle: {
        takes: ["name", "cert_bundle"],
        check: ({ name, cert_bundle }) => {
            expectName(name);
            expectCertificate(cert_bundle, "cert_bundle");
        },
        apply: ({ name, cert_bundle }) => writeRow("tls.ca_cert_bundles", name, cert_bundle),
    },
    remove_ca_cert_bundle: {
        takes: ["name"],
        check: (args) => expectName(args.name),
        apply: ({ name }) => erase("tls.ca_cert_bundles", name),
    },
    // Believes an issuer. `audience` says for whom its tokens must be: one of these; ours, as everything else is CCF's.
    set_jwt_issuer: {
        takes: ["issuer", "auto_refresh", "ca_cert_bundle_name", "audience", "jwks"],
        check: (args) => {
            expectIssuer(args.issuer);
            expectOptional(args.ca_cert_bundle_name, "string", "ca_cert_bundle_name");
            expectOptional(args.auto_refresh, "boolean", "auto_refresh");
            expect(!args.auto_refresh || args.ca_cert_bundle_name, "keys are fetched from a server that is recognised: ca_cert_bundle_name must be there");
            if (isSaid(args.jwks)) expectTokenKeys(args.jwks);
            const { audience } = args;
            if (isSaid(audience)) {
                const names = Array.isArray(audience) ? audience : [audience];
                expect(0 < names.length && names.length <= 16, "audience must be a name, or a list of at most 16");
                names.forEach((name) => expect(isText(name, 1000), "audience must consist of names of 1 to 1000 characters"));
            }
        },
        apply: ({ issuer, auto_refresh, ca_cert_bundle_name, audience, jwks }) => {
            const bundle = ca_cert_bundle_name ?? undefined;
            expect(bundle === undefined || table("tls.ca_cert_bundles").has(key(bundle)), `there is no bundle ${bundle}`);
            const row = { issuer, auto_refresh: auto_refresh ?? false, ca_cert_bundle_name: bundle, audience: audience ?? undefined };
            if (jwks) ccf.setJwtPublicSigningKeys(issuer, row, jwks);
            writeRow("jwt.issuers", issuer, row);
        },
    },
    // CCF's, which empties tables that it once had: there are none here. It may be asked to stop where no issuer has a key.
    cleanup_legacy_jwt_records: {
        takes: ["ensure_new_records_exist"],
        check: (args) => expectOptional(args.ensure_new_records_exist, "boolean", "ensure_new_records_exist"),
        apply: ({ ensure_new_records_exist }) => {
            expect(ensure_new_records_exist !== true || table("jwt.public_signing_keys_metadata_v2").size > 0, "no issuer has a key");
        },
    },
    // Gives an issuer these keys, and no others.
    set_jwt_public_signing_keys: {
        takes: ["issuer", "jwks"],
        check: (args) => {
            expectText(args.issuer, 1000, "issuer");
            expectTokenKeys(args.jwks);
        },
        apply: ({ issuer, jwks }) => {
            const row = readRow("jwt.issuers", key(issuer));
            expect(row !== undefined, `there is no issuer ${issuer}`);
            ccf.setJwtPublicSigningKeys(issuer, row, jwks);
        },
    },
    remove_jwt_issuer: {
        takes: ["issuer"],
        check: (args) => expectText(args.issuer, 1000, "issuer"),
        apply: ({ issuer }) => {
            erase("jwt.issuers", issuer);
            ccf.removeJwtPublicSigningKeys(issuer);
        },
    },

    // Nodes -----------------------------------------------------------------------------------------------------------

    // A learner has the ledger and the secrets, and no vote: nobody waits for it, so it may be away for long. A period of its
    // certificate, which CCF's clients name here, is not looked at: a node is certified when it comes.
    transition_node_to_trusted: {
        takes: ["node_id", "learner", "valid_from", "validity_period_days"],
        check: ({ node_id, learner }) => {
            expectId(node_id, "node_id");
            expectOptional(learner, "boolean", "learner");
        },
        apply: ({ node_id, learner }) => {
            const [id, node] = nodeToTrust(node_id);
            if (node.status === "Pending") trustNode(id, learner === true ? { ...node, learner } : node);
            else expect(learner !== true || node.learner === true, `the node ${id} is trusted to vote already: remove it, and let it join anew with another key`);
        },
    },
    // A learner votes from now on, as soon as it has everything.
    promote_learner: {
        takes: ["node_id"],
        check: (args) => expectId(args.node_id, "node_id"),
        apply: ({ node_id }) => {
            const [id, node] = trustCarrier(node_id);
            expect(node?.status === "Trusted" && node.learner === true, `the node ${id} is no learner`);
            writeRow("nodes.info", id, { ...node, learner: undefined });
        },
    },
    // Nodes make room for others: when all that are added are ready, they vote and the others leave, in one step. Until then
    // everything stays as it is.
    replace_nodes: {
        takes: ["remove", "add"],
        check: ({ remove, add }) => {
            for (const [name, ids] of Object.entries({ remove, add })) {
                expect(Array.isArray(ids) && 0 < ids.length && ids.length <= NODES_MAX, `${name} must name 1 to ${NODES_MAX} nodes`);
                for (const id of ids) expectId(id, `a node of ${name}`);
            }
            expect(new Set([...remove, ...add]).size === remove.length + add.length, "a node is named twice");
        },
        apply: ({ remove, add }) => {
            const leaving = remove.map((id) => trustCarrier(id));
            for (const [id, node] of leaving) expect(node?.status === "Trusted", `the node ${id} is not trusted, so it need not be replaced`);
            const coming = add.map((id) => nodeToTrust(id));
            const seats = (nodes) => nodes.map(([id, node]) => node.seat ?? id);
            const successors = seats(coming);
            expect(new Set([...seats(leaving), ...successors]).size === leaving.length + coming.length, "a node is named twice, as what it was before it started again");
            for (const [id, node] of coming) trustNode(id, { ...node, learner: undefined });
            for (const [id, node] of leaving) writeRow("nodes.info", id, { ...node, successors });
        },
    },
    remove_node: {
        takes: ["node_id"],
        check: (args) => expectId(args.node_id, "node_id"),
        apply: ({ node_id }) => {
            const [id, node] = trustCarrier(node_id);
            if (node === undefined) return;
            // It comes and goes with the seat's node, and may be no more than a copy of that one.
            expect(id === node_id || readRow("nodes.info", key(node_id)).status === "Retired",
                `the node ${node_id} comes in the seat of ${id}: remove that one`);
            if (node.status === "Trusted") {
                const others = trustedNodes().filter((other) => other !== id);
                const votes = (other) => readRow("nodes.info", key(other)).learner !== true;
                expect(node.learner === true || others.some(votes), "the last trusted node cannot be removed");
            }
            erase("automatic_votes", node.seat ?? id);
            if (node.status === "Pending") erase("nodes.info", id);
            else writeRow("nodes.info", id, { ...node, status: "Retired" });
        },
    },
    // Which code a node may run, on the platform that protects nothing.
    add_virtual_measurement: {
        takes: ["measurement"],
        check: (args) => expectId(args.measurement, "measurement"),
        apply: ({ measurement }) => writeRow("nodes.virtual.measurements", measurement, "AllowedToJoin"),
    },
    remove_virtual_measurement: {
        takes: ["measurement"],
        check: (args) => expectId(args.measurement, "measurement"),
        apply: ({ measurement }) => erase("nodes.virtual.measurements", measurement),
    },
    set_node_data: {
        takes: ["node_id", "node_data"],
        check: (args) => expectId(args.node_id, "node_id"),
        apply: ({ node_id, node_data }) => {
            const node = readRow("nodes.info", key(node_id));
            expect(node !== undefined, `there is no node ${node_id}`);
            writeRow("nodes.info", node_id, { ...node, node_data });
        },
    },
    // Renews the certificate of a node, or of all, for the same keys and names, from a time on that is written as in certificates:
    // YYMMDDhhmmssZ. A node renews its own by itself when two thirds of its time are over, for as long again.
    set_node_certificate_validity: {
        takes: ["node_id", "valid_from", "validity_period_days"],
        check: (args) => {
            expectId(args.node_id, "node_id");
            expectPeriod(args);
        },
        apply: ({ node_id, ...period }) => {
            const [, carrier] = trustCarrier(node_id);
            expect(carrier?.status === "Trusted", `the node ${node_id} is not trusted`);
            expect(nodesWithCertificates().includes(node_id), `the node ${node_id} has no certificate, or has left`);
            renewNodes([node_id], period);
        },
    },
    set_all_nodes_certificate_validity: {
        takes: ["valid_from", "validity_period_days"],
        check: expectPeriod,
        apply: (period) => renewNodes(nodesWithCertificates(), period),
    },

    // The service -----------------------------------------------------------------------------------------------------

    transition_service_to_open: {
        takes: ["next_service_identity", "previous_service_identity"],
        check: (args) => {
            expectCertificate(args.next_service_identity, "next_service_identity");
            if (args.previous_service_identity !== undefined) {
                expectCertificate(args.previous_service_identity, "previous_service_identity");
            }
        },
        apply: ({ previous_service_identity: previous, next_service_identity: next }) => {
            expect(serviceStatus() !== "Recovering" || previous !== undefined,
                "after a recovery, the identity of the service before it must be named as well");
            ccf.node.transitionServiceToOpen(previous === undefined ? undefined : ccf.strToBuf(previous), ccf.strToBuf(next));
        },
    },
    // Stops a proposal that was meant for another service.
    assert_service_identity: {
        takes: ["service_identity"],
        check: (args) => {
            const service = readRow("service.info", ONLY_ROW);
            expect(service?.cert === args.service_identity, "this is another service");
        },
        apply: () => {},
    },
    // Renews the certificate of the service, for the same key, from a time on that is written as in certificates:
    // YYMMDDhhmmssZ. Clients that ask for the certificate and not for its key need the new one before the old one ends.
    set_service_certificate_validity: {
        takes: ["valid_from", "validity_period_days"],
        check: expectPeriod,
        apply: ({ valid_from, validity_period_days }) => {
            const most = configuration().maximum_service_certificate_validity_days ?? 365;
            const days = validity_period_days ?? most;
            expect(days <= most, `a certificate of this service is valid for at most ${most} days`);
            const service = readRow("service.info", ONLY_ROW);
            expect(service !== undefined, "nothing is known of the service yet");
            const cert = ccf.network.generateNetworkCertificate(valid_from, days);
            table("service.info").set(ONLY_ROW, ccf.jsonCompatibleToBuf({ ...service, cert }));
        },
    },
    set_recovery_threshold: {
        takes: ["recovery_threshold"],
        check: (args) => expectWhole(args.recovery_threshold, 1, 254, "recovery_threshold"),
        apply: ({ recovery_threshold }) => setConfiguration({ recovery_threshold }),
    },
    set_service_configuration: {
        takes: ["recovery_threshold", "recent_cose_proposals_window_size", "ledger_secret_age_max_s", "node_lease_s", "restart_from_disk",
            "maximum_service_certificate_validity_days", "maximum_node_certificate_validity_days"],
        check: (args) => {
            const { recovery_threshold, recent_cose_proposals_window_size, ledger_secret_age_max_s, node_lease_s } = args;
            for (const name of ["maximum_service_certificate_validity_days", "maximum_node_certificate_validity_days"]) {
                if (args[name] !== undefined) expectWhole(args[name], 1, 3650, name);
            }
            // The ledger gets another secret when the one that it has is so old: after an hour at least, ten years at most.
            if (ledger_secret_age_max_s !== undefined) {
                expectWhole(ledger_secret_age_max_s, 3600, 315360000, "ledger_secret_age_max_s");
            }
            // A node that does not show for so long that it runs admitted code is quarantined: an hour at least; 0 asks nobody.
            if (node_lease_s !== undefined && node_lease_s !== 0) expectWhole(node_lease_s, 3600, 315360000, "node_lease_s");
            // Nodes go on from their own disks when they start again: then all can be stopped at once, and their hosts are
            // believed that no disk was set back.
            if (args.restart_from_disk !== undefined) expectType(args.restart_from_disk, "boolean", "restart_from_disk");
            if (recovery_threshold !== undefined) expectWhole(recovery_threshold, 1, 254, "recovery_threshold");
            if (recent_cose_proposals_window_size !== undefined) {
                expectWhole(recent_cose_proposals_window_size, 1, 10000, "recent_cose_proposals_window_size");
            }
        },
        apply: (args) => setConfiguration(args),
    },
    trigger_recovery_shares_refresh: { takes: [], check: () => {}, apply: () => ccf.node.triggerRecoverySharesRefresh() },
    trigger_ledger_rekey: { takes: [], check: () => {}, apply: () => ccf.node.triggerLedgerRekey() },
    trigger_ledger_chunk: { takes: [], check: () => {}, apply: () => ccf.node.triggerLedgerChunk() },
    trigger_snapshot: { takes: [], check: () => {}, apply: () => ccf.node.triggerSnapshot() },
    // Lets members read private entries of the ledger with their shares, away from the nodes. Everybody sees which, and why.
    disclose_ledger_range: {
        takes: ["from", "to", "reason"],
        check: ({ from, to, reason }) => {
            expectWhole(from, 1, Number.MAX_SAFE_INTEGER, "from");
            expectWhole(to, from, Number.MAX_SAFE_INTEGER, "to");
            expect(typeof reason === "string" && reason.trim() !== "" && reason.length <= 1000, "reason must say why, in at most 1000 characters");
        },
        apply: ({ from, to, reason }, proposalId) => {
            expect(!table("disclosures").has(key(proposalId)), "a proposal discloses one range");
            writeRow("disclosures", proposalId, { from, to, reason });
        },
    },

    // The rules themselves --------------------------------------------------------------------------------------------

    set_voting_policy: {
        takes: ["default", "actions", "proposals_expire_after_s"],
        check: (args) => {
            expectRule(args.default, "default");
            expectType(args.actions, "object", "actions");
            for (const [name, rule] of Object.entries(args.actions)) {
                expect(Object.hasOwn(ACTIONS, name), `${name} is no action`);
                if (rule?.rule === "automatic") expectAutomaticRule(rule, name);
                else expectRule(rule, name);
            }
            if (args.proposals_expire_after_s !== undefined) {
                expectWhole(args.proposals_expire_after_s, 3600, 366 * 24 * 3600, "proposals_expire_after_s");
            }
        },
        // Whoever voted on another proposal did so under other rules: the service drops all that are open.
        apply: ({ default: byDefault, actions: rules, proposals_expire_after_s }) => {
            const policy = { default: byDefault, actions: rules, proposals_expire_after_s };
            expectAllReachable(policy);
            setPolicy(policy);
        },
    },
    set_constitution: {
        takes: ["constitution"],
        check: (args) => {
            expectType(args.constitution, "string", "constitution");
            ccf.gov.validateConstitution(args.constitution);
        },
        apply: (args) => table("constitution").set(ONLY_ROW, ccf.jsonCompatibleToBuf(args.constitution)),
    },
};

// ---------------------------------------------------------------------------------------------------------------------
// 3. How proposals are checked, decided and carried out

export function validate(input) {
    const faults = [];
    const { actions } = JSON.parse(input);
    if (!Array.isArray(actions) || actions.length === 0) {
        return { valid: false, description: "a proposal is a list of actions" };
    }
    actions.forEach((action, position) => {
        try {
            expect(Object.hasOwn(ACTIONS, action?.name), "there is no such action");
            expectOptional(action.args, "object", "args");
            const [{ takes, check }, args] = [ACTIONS[action.name], action.args ?? {}];
            expectKnown(args, takes);
            check(args);
        } catch (error) {
            faults.push(`action ${position + 1}, ${action?.name}: ${error.message}`);
        }
    });
    return { valid: faults.length === 0, description: faults.join("; ") };
}

export function resolve(proposal, proposerId, votes) {
    const active = activeMembers();
    const of = (wanted) => votes.filter(({ vote }) => vote === wanted).map(({ member_id }) => member_id);
    const [approving, refusing] = [of(true), of(false)];
    const { actions } = JSON.parse(proposal);
    const [inForce, alone] = [policy(), decidedAlone(actions, proposerId)];
    const decisions = namesOfRules(actions.filter((action) => !alone.has(action)))
        .map((name) => decide(ruleOfVotes(inForce, name), active, approving, refusing));
    if (decisions.includes("Rejected")) return "Rejected";
    return decisions.every((decision) => decision === "Accepted") ? "Accepted" : "Open";
}

export function apply(proposal, proposalId) {
    const { actions } = JSON.parse(proposal);
    const proposerId = readRow("proposals_info", key(proposalId))?.proposer_id;
    const alone = decidedAlone(actions, proposerId);
    for (const action of actions) {
        ACTIONS[action.name].apply(action.args ?? {}, proposalId);
        if (alone.has(action)) {
            writeRow("automatic_votes", action.args.node_id, { member_id: proposerId, proposal_id: proposalId });
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// 4. Words used above

const ONLY_ROW = new ArrayBuffer(8);

// Whoever shows a certificate is looked for in all of them.
const ORGANISATIONS_MAX = 100;

// As many may vote, and so many may make room for as many others.
const NODES_MAX = 64;

function table(name) { return ccf.kv[`public:ccf.gov.${name}`]; }
function key(id) { return ccf.strToBuf(id); }
function writeRow(name, id, row) { table(name).set(key(id), ccf.jsonCompatibleToBuf(row)); }
function writeText(name, id, text) { table(name).set(key(id), ccf.strToBuf(text)); }
function erase(name, id) { table(name).delete(key(id)); }
function readRow(name, rowKey) {
    const row = table(name).get(rowKey);
    return row === undefined ? undefined : ccf.bufToJsonCompatible(row);
}

function isMember(id) { return table("members.info").has(key(id)); }
function activeMembers() {
    const active = [];
    table("members.info").forEach((row, id) => {
        if (ccf.bufToJsonCompatible(row).status === "Active") active.push(ccf.bufToStr(id));
    });
    return active;
}
function activeRecoveryMembers() {
    return activeMembers().filter((id) => table("members.encryption_public_keys").has(key(id))
        && readRow("members.info", key(id)).recovery_role !== "NonParticipant");
}
// How many shares of the ledger's secret these recovery members hold. Owners hold the key itself, and count as one share where nobody
// else holds any.
function sharesOf(ids) {
    const participants = ids.filter((id) => readRow("members.info", key(id)).recovery_role !== "Owner");
    return participants.length > 0 ? participants.length : Math.min(ids.length, 1);
}
function expectRecoverable() {
    const { recovery_threshold } = configuration();
    expect(sharesOf(activeRecoveryMembers()) >= (recovery_threshold ?? 0), `fewer than ${recovery_threshold} members could recover the service`);
}
function changeMember(id, { member_data, recovery_role, encryption_pub_key }) {
    const part = () => activeRecoveryMembers().includes(id)
        ? JSON.stringify([ccf.bufToStr(table("members.encryption_public_keys").get(key(id))), readRow("members.info", key(id)).recovery_role])
        : undefined;
    const [member, before] = [readRow("members.info", key(id)), part()];
    if (isSaid(encryption_pub_key)) writeText("members.encryption_public_keys", id, encryption_pub_key);
    writeRow("members.info", id, {
        ...member, member_data: member_data ?? member.member_data, recovery_role: recovery_role ?? member.recovery_role,
    });
    const after = part();
    if (before === after) return;
    const status = serviceStatus();
    expect(status !== "Recovering" && status !== "WaitingForRecoveryShares", "the service is being recovered");
    if (before !== undefined) expectRecoverable();
    // Whoever has no share any more does not read on; the others get new ones.
    if (after === undefined) ccf.node.triggerLedgerRekey();
    else ccf.node.triggerRecoverySharesRefresh();
}
function removeMember(id) {
    expect(activeMembers().some((other) => other !== id), "the last active member cannot be removed");
    const couldRecover = activeRecoveryMembers().includes(id);
    for (const name of ["info", "certs", "encryption_public_keys", "acks"]) erase(`members.${name}`, id);
    if (couldRecover) {
        expectRecoverable();
        ccf.node.triggerLedgerRekey();
    }
    expectAllReachable(policy());
}
function trustedNodes() {
    const trusted = [];
    table("nodes.info").forEach((row, id) => {
        if (ccf.bufToJsonCompatible(row).status === "Trusted") trusted.push(ccf.bufToStr(id));
    });
    return trusted;
}
// The node in whose row members' trust stands, and the row: a process that started again is another node in the same seat, which has
// that trust once it votes.
function trustCarrier(id) {
    const node = readRow("nodes.info", key(id));
    if (node === undefined || node.status === "Trusted" || (node.status === "Pending" && node.seat === undefined)) return [id, node];
    const seat = node.seat ?? id;
    const carrier = trustedNodes().find((other) => (readRow("nodes.info", key(other)).seat ?? other) === seat);
    return carrier === undefined ? [id, node] : [carrier, readRow("nodes.info", key(carrier))];
}
// The nodes that have come to take part, with a vote or without, and have not left. One that is trusted has a certificate once it comes.
function nodesWithCertificates() {
    const nodes = [];
    table("nodes.info").forEach((row, id) => {
        const stays = ccf.bufToJsonCompatible(row).status !== "Retired";
        if (stays && table("nodes.endorsed_certificates").has(id)) nodes.push(ccf.bufToStr(id));
    });
    return nodes;
}
// Gives nodes other certificates in the place of those that they have.
function renewNodes(ids, { valid_from, validity_period_days }) {
    const most = configuration().maximum_node_certificate_validity_days ?? 365;
    const days = validity_period_days ?? most;
    expect(days <= most, `a certificate of a node is valid for at most ${most} days`);
    for (const id of ids) {
        // The row of a node of before has no request: its present certificate stands for one.
        const request = readRow("nodes.info", key(id)).certificate_signing_request
            ?? ccf.bufToStr(table("nodes.endorsed_certificates").get(key(id)));
        const cert = ccf.network.generateEndorsedCertificate(request, valid_from, days);
        table("nodes.endorsed_certificates").set(key(id), ccf.strToBuf(cert));
    }
}
function nodeToTrust(nodeId) {
    const [id, node] = trustCarrier(nodeId);
    expect(node !== undefined, `there is no node ${id}`);
    expect(node.status !== "Retired", `the node ${id} is retired`);
    return [id, node];
}
function trustNode(id, node) {
    const ledger_secret_seqno = node.ledger_secret_seqno ?? ccf.network.getLatestLedgerSecretSeqno();
    writeRow("nodes.info", id, { ...node, status: "Trusted", ledger_secret_seqno });
}
// A node that nobody has trusted yet, in no other node's place, with code that members have admitted.
function isNewcomerWithAdmittedCode(id) {
    const node = readRow("nodes.info", key(id));
    return node?.status === "Pending" && node.seat === undefined && typeof node.code_digest === "string"
        && readRow("nodes.virtual.measurements", key(node.code_digest)) === "AllowedToJoin";
}
function setUserData(id, user_data) {
    if (isSaid(user_data)) writeRow("users.info", id, { user_data });
    else erase("users.info", id);
}
// A serial number in its one spelling.
function plainSerial(serial) { return serial.toLowerCase().replaceAll(":", "").replace(/^0+(?=.)/, ""); }
function organisation(name) {
    const row = ccf.kv["public:coco.gov.organisations.info"].get(key(name));
    return row === undefined ? undefined : ccf.bufToJsonCompatible(row);
}
function serviceStatus() { return readRow("service.info", ONLY_ROW)?.status; }
function configuration() { return readRow("service.config", ONLY_ROW) ?? {}; }
function setConfiguration(changes) {
    const before = configuration();
    const threshold = changes.recovery_threshold;
    const isOther = threshold !== undefined && threshold !== before.recovery_threshold;
    const count = sharesOf(activeRecoveryMembers());
    if (isOther) {
        const status = serviceStatus();
        expect(status !== "Recovering" && status !== "WaitingForRecoveryShares", "the service is being recovered");
        // The first member to hold a share needs a threshold that it meets.
        if (status === "Open") expect(threshold <= Math.max(count, 1), `only ${count} members hold shares`);
    }
    table("service.config").set(ONLY_ROW, ccf.jsonCompatibleToBuf({ ...before, ...changes }));
    if (isOther && count > 0) ccf.node.triggerRecoverySharesRefresh();
}

function expect(condition, message) { if (!condition) throw new Error(message); }
function isSaid(value) { return value !== undefined && value !== null; }
function isObject(value) { return typeof value === "object" && value !== null && !Array.isArray(value); }
function expectType(value, type, name) {
    expect(type === "object" ? isObject(value) : typeof value === type, `${name} must be of type ${type}`);
}
function expectOptional(value, type, name) {
    if (isSaid(value)) expectType(value, type, name);
}
function expectKnown(args, takes) {
    const other = Object.keys(args).find((name) => !takes.includes(name));
    if (other !== undefined) throw new Error(`it takes no ${other}`);
}
function expectWhole(value, least, most, name) {
    expect(Number.isInteger(value) && least <= value && value <= most, `${name} must be a whole number from ${least} to ${most}`);
}
function expectPeriod({ valid_from, validity_period_days }) {
    expect(isText(valid_from, 15) && /^([0-9]{2})?[0-9]{12}Z$/.test(valid_from), "valid_from must be a time like 261231235959Z");
    if (isSaid(validity_period_days)) expectWhole(validity_period_days, 1, 3650, "validity_period_days");
}
function expectId(value, name) {
    expect(typeof value === "string" && /^[0-9a-f]{64}$/.test(value), `${name} must be 64 lower-case hexadecimal digits`);
}
function expectCertificate(value, name) {
    expect(typeof value === "string" && ccf.crypto.isValidX509CertBundle(value), `${name} must be a certificate in PEM`);
}
// Whoever has another key could be admitted, and never sign. What follows the certificate is its chain.
function expectSigner(cert) {
    expect(ccf.crypto.isRequestSigner(cert) && ccf.crypto.isValidX509CertChain(cert, cert),
        "cert has a key that signs no requests: it must be on P-256, P-384 or P-521, or Ed25519");
}
function isText(value, most) { return typeof value === "string" && value !== "" && value.length <= most; }
function expectText(value, most, name) { expect(isText(value, most), `${name} must be a text of 1 to ${most} characters`); }
function expectName(value) { expectText(value, 128, "name"); }
function expectIssuer(value) {
    expectText(value, 1000, "issuer");
    expect(/^https:\/\/[^\/?#\s]+[^?#\s]*$/.test(value), "issuer must be a URL that begins with https://, without query and fragment");
}
function expectTokenKeys(jwks) {
    expectType(jwks, "object", "jwks");
    expect(Array.isArray(jwks.keys) && 0 < jwks.keys.length && jwks.keys.length <= 100, "jwks must have keys, 1 to 100");
    for (const jwk of jwks.keys) {
        expectType(jwk, "object", "a key of jwks");
        expectText(jwk.kid, 1000, "kid");
        expectOptional(jwk.issuer, "string", "issuer of a key");
        if (jwk.n) ccf.crypto.pubRsaJwkToPem(jwk);
        else if (jwk.x) ccf.crypto.pubJwkToPem(jwk);
        else {
            expect(Array.isArray(jwk.x5c), `the key ${jwk.kid} has neither n and e, nor x and y, nor x5c`);
            expectCertificate(`-----BEGIN CERTIFICATE-----\n${jwk.x5c[0]}\n-----END CERTIFICATE-----`, "x5c");
        }
    }
}
function expectRule(rule, name) {
    expectType(rule, "object", `the rule of ${name}`);
    expect(Object.hasOwn(RULES, rule.rule), `the rule of ${name} is unknown`);
    const known = ["rule", "veto", ...RULES[rule.rule].fields];
    for (const field of Object.keys(rule)) expect(known.includes(field), `the rule of ${name} has no ${field}`);
    if (rule.rule === "at_least") expectWhole(rule.members, 1, 254, "members");
    if (rule.rule === "weighted") {
        expectType(rule.weights, "object", "weights");
        for (const [id, weight] of Object.entries(rule.weights)) {
            expectId(id, "a member of weights");
            expectWhole(weight, 0, 1000000, `the weight of ${id}`);
        }
        expectWhole(rule.needed, 1, 254000000, "needed");
    }
    if (rule.veto !== undefined) {
        expect(Array.isArray(rule.veto), "veto must be a list");
        rule.veto.forEach((id) => expectId(id, "a member of veto"));
    }
}
function expectAutomaticRule(rule, name) {
    expect(name === AUTOMATIC, `${name} is never decided automatically`);
    const known = ["rule", "per_member", "otherwise"];
    for (const field of Object.keys(rule)) expect(known.includes(field), `the rule of ${name} has no ${field}`);
    expectWhole(rule.per_member, 1, 100, "per_member");
    if (rule.otherwise !== undefined) expectRule(rule.otherwise, `${name}, otherwise`);
}
// The policy with each of its rules changed.
function withRules(policy, change) {
    const all = (rule) => change(rule.otherwise === undefined ? rule : { ...rule, otherwise: change(rule.otherwise) });
    const rules = Object.entries(policy.actions).map(([name, rule]) => [name, all(rule)]);
    return { ...policy, default: all(policy.default), actions: Object.fromEntries(rules) };
}
// The policy with one member's weights and vetoes given to others: to none, or to one.
function withOthers(policy, id, others) {
    const entries = (weights) => Object.entries(weights).flatMap(([member, weight]) =>
        member === id ? others.map((other) => [other, weight]) : [[member, weight]]);
    return withRules(policy, (rule) => ({
        ...rule,
        weights: rule.weights && Object.fromEntries(entries(rule.weights)),
        veto: rule.veto?.flatMap((member) => member === id ? others : [member]),
    }));
}
function withoutMember(policy, id) { return withOthers(policy, id, []); }
function withSuccessor(policy, id, successor) { return withOthers(policy, id, [successor]); }
// Whether the policy gives a member weight or a veto.
function isNamedIn(policy, id) {
    const named = ({ weights, veto }) => Object.hasOwn(weights ?? {}, id) || (veto ?? []).includes(id);
    return [policy.default, ...Object.values(policy.actions)].some((rule) => named(rule) || named(rule.otherwise ?? {}));
}
// A rule that the members who are left cannot meet would end their power to change it.
function expectAllReachable(policy) {
    const active = activeMembers();
    for (const rule of [policy.default, ...Object.keys(policy.actions).map((name) => ruleOfVotes(policy, name))]) {
        expect(decide(rule, active, active, []) === "Accepted", `the active members cannot meet the rule ${rule.rule}`);
    }
}
