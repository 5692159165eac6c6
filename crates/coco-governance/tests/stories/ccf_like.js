// Nodes and their certificates by the calls that CCF's sample constitution makes, in words of our own. One member's vote decides.
const only = new ArrayBuffer(8);
const nodes = () => ccf.kv["public:ccf.gov.nodes.info"];
const nodeOf = (id) => {
    const row = nodes().get(ccf.strToBuf(id));
    if (row === undefined) throw new Error(`no node ${id}`);
    return ccf.bufToJsonCompatible(row);
};

function certify(id, { certificate_signing_request: request }, { valid_from, validity_period_days }) {
    if (request === undefined) throw new Error(`the node ${id} has signed no request`);
    const config = ccf.bufToJsonCompatible(ccf.kv["public:ccf.gov.service.config"].get(only));
    const days = validity_period_days ?? config.maximum_node_certificate_validity_days ?? 365;
    const made = ccf.network.generateEndorsedCertificate(request, valid_from, days);
    ccf.kv["public:ccf.gov.nodes.endorsed_certificates"].set(ccf.strToBuf(id), ccf.strToBuf(made));
}

const actions = {
    transition_node_to_trusted: ({ node_id, ...period }) => {
        const node = nodeOf(node_id);
        node.status = "Trusted";
        node.ledger_secret_seqno = ccf.network.getLatestLedgerSecretSeqno();
        nodes().set(ccf.strToBuf(node_id), ccf.jsonCompatibleToBuf(node));
        if (node.certificate_signing_request !== undefined) certify(node_id, node, period);
    },
    set_node_certificate_validity: ({ node_id, ...period }) => {
        const node = nodeOf(node_id);
        if (node.status !== "Trusted") throw new Error(`the node ${node_id} is not trusted`);
        certify(node_id, node, period);
    },
    set_all_nodes_certificate_validity: (period) => {
        nodes().forEach((row, id) => {
            const node = ccf.bufToJsonCompatible(row);
            if (node.status === "Trusted") certify(ccf.bufToStr(id), node, period);
        });
    },
    // What no constitution should do.
    certify_anything: ({ node_id, request, ...period }) => certify(node_id, { certificate_signing_request: request }, period),
    certify_once_more: ({ node_id, ...period }) => {
        const row = nodeOf(node_id);
        certify(node_id, row, period);
        try { certify(node_id, row, period); } catch (error) { throw new Error(`again: ${error.message}`); }
    },
};

export function validate(input) {
    const known = JSON.parse(input).actions.every(({ name }) => Object.hasOwn(actions, name));
    return { valid: known, description: known ? "" : "no such action" };
}
export function resolve(proposal, proposerId, votes) { return votes.some(({ vote }) => vote) ? "Accepted" : "Open"; }
export function apply(proposal) {
    for (const { name, args } of JSON.parse(proposal).actions) actions[name](args);
}
