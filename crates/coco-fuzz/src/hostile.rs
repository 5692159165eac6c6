//! Inputs made by hand: forms that are too deep, too many, twice or much longer than they say, and a few well-formed
//! ones of text formats for the fuzzer to start from. What real nodes write lies in the corpora.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_consensus::HardState;
use coco_crypto::cose::{AttachedSign1, EMPTY_MAP};
use coco_types::{NodeId, View, codec::put_u64};

use crate::{client::KINDS, governance::SIGNED};

/// Deeper than any parser may follow on its stack.
const DEPTH: usize = 20_000;

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub(crate) fn none() -> Vec<Vec<u8>> {
    vec![Vec::new()]
}

pub(crate) fn certificate() -> Vec<Vec<u8>> {
    let mut nested: Vec<u8> = Vec::new();
    for _ in 0..1000 {
        nested.extend_from_slice(&[0x30, 0x80]);
    }
    vec![
        include_bytes!("../fixture/service_cert.pem").to_vec(),
        include_bytes!("../fixture/node_cert.pem").to_vec(),
        nested,
        // A length of 2^64 - 1, and one that is not in the shortest form.
        vec![0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x30, 0x84, 0, 0, 0, 1, 0],
    ]
}

pub(crate) fn cbor() -> Vec<Vec<u8>> {
    let deep = |open: u8| [vec![0xd2, 0x84, 0x40], vec![open; DEPTH]].concat();
    vec![
        // Arrays, maps, tags and indefinite lengths, each inside the one before.
        deep(0x81),
        deep(0xa1),
        deep(0xc6),
        deep(0x9f),
        deep(0xbf),
        // Byte strings and arrays of 2^64 - 1.
        vec![0xd2, 0x84, 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0xd2, 0x84, 0x40, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf6, 0x40],
        vec![0xd2, 0x84, 0x40, 0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf6, 0x40],
        // The same key twice.
        vec![0xd2, 0x84, 0x40, 0xa2, 0x01, 0x01, 0x01, 0x02, 0xf6, 0x40],
        // Numbers that are not in their shortest form.
        vec![0xd8, 0x12, 0x84, 0x40, 0xa0, 0xf6, 0x40],
        vec![0xd2, 0x98, 0x04, 0x40, 0xa0, 0xf6, 0x40],
        vec![0xd2, 0x84, 0x58, 0x00, 0xa0, 0xf6, 0x40],
        vec![0xd2, 0x84, 0x40, 0xa0, 0xf6, 0x40],
    ]
}

/// Requests that members signed, and protected headers that are too deep, too many or twice.
pub(crate) fn governance_request() -> Vec<Vec<u8>> {
    let sealed = |protected: &[u8]| {
        AttachedSign1 { protected, unprotected: EMPTY_MAP, payload: b"{}", signature: &[7; 64] }
            .encode()
    };
    // Under a header that nobody knows.
    let deep = |open: u8| sealed(&[vec![0xa1, 0x18, 0x64], vec![open; DEPTH]].concat());
    let mut all = SIGNED.map(<[u8]>::to_vec).to_vec();
    all.extend([0x81, 0xa1, 0xc6, 0x9f, 0xbf].map(deep));
    all.extend([
        // A map and a text of 2^64 - 1, a map without a length, `alg` twice, `crit`, and what follows the map.
        sealed(&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        sealed(&[0xa1, 0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        sealed(&[0xbf, 0x01, 0x26, 0xff]),
        sealed(&[0xa2, 0x01, 0x26, 0x01, 0x26]),
        sealed(&[0xa1, 0x02, 0x81, 0x01]),
        sealed(&[0xa0, 0x00]),
    ]);
    all
}

pub(crate) fn governance_document() -> Vec<Vec<u8>> {
    let mut all = texts(&[
        r#"{"actions":[{"name":"set_note","args":{"text":"hello"}}]}"#,
        r#"{"ballot":"export function vote (rawProposal, proposerId) { return true; }"}"#,
        r#"{"stateDigest":"00000000000000000000000000000000000000000000000000000000000000aa"}"#,
        r#"{"a":{"x":[1,-2,0.5e-7,null,true,false]},"b":{"x":":\"{"}}"#,
        // One name twice: as it is, escaped, further down.
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":1}"#,
        r#"{"b":[{"a":{"x":1,"x":2}}]}"#,
        r#"{"\ud800":1,"a":1e999,"b":123456789012345678901234567890}"#,
        "[{}]",
        "{} {}",
    ]);
    all.extend(["[", r#"{"a":"#].map(|open| open.repeat(DEPTH).into_bytes()));
    all.push(format!("{{{}}}", r#""a":1,"#.repeat(2000)).into_bytes());
    all.push(b"{\"a\":\"\xff\"}".to_vec());
    all
}

pub(crate) fn json() -> Vec<Vec<u8>> {
    vec![
        "[".repeat(DEPTH).into_bytes(),
        r#"{"cert":"#.repeat(DEPTH).into_bytes(),
        br#"{"cert":"a","cert":"b"}"#.to_vec(),
        br#"{"proof":[{"left":"00"},{"left":"00","right":"00"}]}"#.to_vec(),
        [
            br#"{"cert":"","node_id":"","signature":"","leaf":"","proof":["#.as_slice(),
            &br#"{"left":""},"#.repeat(2000),
        ]
        .concat(),
        b"\xff\xfe{}".to_vec(),
    ]
}

/// A header and claims in each, which the issuer of the target signs; and tokens that nobody signed.
pub(crate) fn bearer_token() -> Vec<Vec<u8>> {
    let header = r#"{"alg":"ES256","typ":"JWT","kid":"k1"}"#;
    let claims = r#"{"iss":"https://login.acme.example","nbf":1799999000,"exp":1800001000,"aud":["a","b"],"sub":"x"}"#;
    let lines = [
        (header, claims),
        (header, &*claims.replace(r#""sub""#, r#""iss":"x","sub""#)),
        (header, &claims.replace("1800001000", "18446744073709551616")),
        (header, &claims.replace("1800001000", "1.8e9")),
        (header, &claims.replace(r#""sub""#, r#""tid":"t","sub""#)),
        (&header.replace("ES256", "none"), claims),
        (&header.replace("ES256", "HS256"), claims),
        (&header.replace(r#""typ""#, r#""crit":["b64"],"typ""#), claims),
        (&header.replace("k1", "../k1"), claims),
        (header, &"[".repeat(2000)),
    ];
    let mut all: Vec<Vec<u8>> =
        lines.iter().map(|(header, claims)| format!("{header}\n{claims}").into_bytes()).collect();
    all.extend(texts(&["..", "e30.e30.", "eyJhbGciOiJub25lIiwia2lkIjoiazEifQ.e30.", "a.b.c.d"]));
    all
}

/// Sets of keys, good ones first.
pub(crate) fn issuer_keys() -> Vec<Vec<u8>> {
    // The coordinates of P-256's base point (SEC 2, 2.4.2).
    let (x, y) = (
        "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
        "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
    );
    let point = format!(r#"{{"kty":"EC","kid":"k2","crv":"P-256","x":"{x}","y":"{y}"}}"#);
    let modulus = format!("w{}Q", "A".repeat(340));
    let rsa = format!(r#"{{"kty":"RSA","kid":"k3","use":"sig","n":"{modulus}","e":"AQAB"}}"#);
    let set = |keys: &str| format!(r#"{{"keys":[{keys}]}}"#);
    let pem = crate::ledger::node().pem();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let all = [
        set(&point),
        set(&rsa),
        set(&format!("{point},{rsa},1,null,{{}}")),
        set(&format!("{point},{point}")),
        set(&point.replace("k2", "k1")),
        set(&point.replace("k2", "")),
        set(&point.replace("P-256", "P-384")),
        set(&point.replace(y, x)),
        set(&rsa.replace("sig", "enc")),
        set(&rsa.replace(&modulus, "AQAB")),
        set(&rsa.replace("AQAB", "AA")),
        set(&point.replace(r#""kty""#, r#""issuer":"https://evil.example","kty""#)),
        set(&format!(r#"{{"kid":"k4","x5c":["{base64}"]}}"#)),
        set(&"[".repeat(2000)),
        set(&format!("{}1", "1,".repeat(2000))),
    ];
    all.map(String::into_bytes).into()
}

pub(crate) fn script_value() -> Vec<Vec<u8>> {
    let mut all = json();
    all.extend(texts(&[
        r#"{"a":[1,-0.5e+1,1e400,true,null,"x\u00e9\ud83d\ude00€"],"a":{"__proto__":{}}}"#,
        r#"["\ud800","\udc00\ud800"]"#,
        "[1,]",
        "01",
    ]));
    // A list that says it has 2^32 - 1 items, a text as long, and lists inside of lists.
    all.push(vec![7, 0xff, 0xff, 0xff, 0xff, 1]);
    all.push(vec![9, 0xff, 0xff, 0xff, 0xff, b'a']);
    all.push([7, 1, 0, 0, 0].repeat(DEPTH));
    // Text with half of a surrogate pair, and a record with each kind of value.
    all.push(vec![10, 2, 0, 0, 0, 0, 0xd8]);
    all.push(vec![8, 1, 0, 0, 0, 5, 1, 0, 0, 0, b'a', 6, 1, 0, 0, 0, 0xff]);
    all.push(vec![4, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f]);
    all
}

pub(crate) fn json_rpc() -> Vec<Vec<u8>> {
    let mut all = texts(&[
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":"a","method":"eth_getBalance","params":["0x00000000000000000000000000000000000000aa","latest"]}"#,
        r#"[{"jsonrpc":"2.0","id":null,"method":"eth_blockNumber"},{"jsonrpc":"2.0","method":"eth_blockNumber"}]"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransactionSync","params":["0x02c0","0x10"]}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a","method":"eth_chainId"}"#,
        r#"{"jsonrpc":"2.0","id":1e999,"method":"eth_chainId"}"#,
        r#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"eth_chainId"}"#,
        r#"{"jsonrpc":"2.0","id":"\ud800","method":"\u0000"}"#,
        r#"["2.0",1,"eth_chainId",[]]"#,
        "[]",
        "[[[[]]]]",
        " \t\r\n{}",
    ]);
    all.push("[".repeat(DEPTH).into_bytes());
    all.push(r#"{"params":"#.repeat(DEPTH).into_bytes());
    all.push(
        format!(r#"{{"jsonrpc":"2.0","id":{}1,"method":"a"}}"#, "[".repeat(DEPTH)).into_bytes(),
    );
    all.push(format!("[{}1]", "1,".repeat(5000)).into_bytes());
    all.push(
        format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"a"}}"#, "a".repeat(10_000)).into_bytes(),
    );
    all
}

pub(crate) fn log_filter() -> Vec<Vec<u8>> {
    let topic = "0x00000000000000000000000000000000000000000000000000000000000000aa";
    let mut all = texts(&[
        r#"[{"fromBlock":"0x1","toBlock":"latest","address":"0x00000000000000000000000000000000000000aa","topics":[]}]"#,
        r#"[{"blockHash":"0x00000000000000000000000000000000000000000000000000000000000000aa","address":[]}]"#,
        r#"[{"blockHash":"0x00000000000000000000000000000000000000000000000000000000000000aa","fromBlock":"0x0"}]"#,
        r#"[{"fromBlock":"0xffffffffffffffff","toBlock":"0x0"}]"#,
        r#"[{"address":null,"topics":[null,[null],[]]}]"#,
        r#"[{"address":["0x","0x0"],"topics":[[[]]]}]"#,
        "[{}]",
        "[]",
        "null",
    ]);
    all.push(format!(r#"[{{"topics":["{topic}",["{topic}","{topic}"],null,[]]}}]"#).into_bytes());
    all.push(format!(r#"[{{"topics":[null{}]}}]"#, ",null".repeat(100)).into_bytes());
    all.push(format!(r#"[{{"address":["0x"{}]}}]"#, r#","0x""#.repeat(1100)).into_bytes());
    all.push(format!(r#"[{{"topics":{}]}}]"#, "[".repeat(DEPTH)).into_bytes());
    all
}

pub(crate) fn rpc_params() -> Vec<Vec<u8>> {
    let params = [
        r#"[{"from":"0x00000000000000000000000000000000000000aa","to":null,"gas":"0x5208","gasPrice":"0x0","value":"0x1","data":"0x00","input":"0x00","nonce":"0x0","accessList":[{"address":"0x00000000000000000000000000000000000000aa","storageKeys":[]}]},"latest",{"0x00000000000000000000000000000000000000aa":{"balance":"0x1","nonce":"0x1","code":"0x","state":{},"stateDiff":{}}}]"#,
        r#"["0x400","latest",[0,50.5,1e400,-1,100.0]]"#,
        r#"["0x00000000000000000000000000000000000000aa",{"blockHash":"0x00000000000000000000000000000000000000000000000000000000000000aa","requireCanonical":true}]"#,
        r#"["0x00000000000000000000000000000000000000aa","0x0","pending"]"#,
        r#"["0x0xaa","0x00"]"#,
        r#"["0x02c0",18446744073709551616]"#,
    ];
    let each = |text: &&str| {
        (0..38_u8)
            .step_by(3)
            .map(|method| [&[method], text.as_bytes()].concat())
            .collect::<Vec<_>>()
    };
    let mut all: Vec<Vec<u8>> = params.iter().flat_map(each).collect();
    all.push([&[0][..], "[{\"data\":".repeat(DEPTH).as_bytes()].concat());
    all
}

pub(crate) fn rlp() -> Vec<Vec<u8>> {
    vec![
        // Lists and strings of 2^64 - 1, and of 2^32 with nothing behind.
        vec![2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![2, 0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![1, 0xfb, 0xff, 0xff, 0xff, 0xff],
        vec![0xc0],
        vec![4, 0xc0],
        [vec![2], vec![0xf8; 3000]].concat(),
        [vec![1], vec![0xc1; 3000]].concat(),
        vec![3; 200],
    ]
}

pub(crate) fn http_route() -> Vec<Vec<u8>> {
    let mut all = texts(&[
        "GET /app/tx?transaction_id=2.18",
        "POST /?wait=committed",
        "POST /eth?wait=executed",
        "OPTIONS /",
        "GET /node/network/nodes/self",
        "GET /app/receipt/cose?transaction_id=2.18&x=",
        "GET /app/commit?view_history=true&view_history_since=0",
        "GET //app/tx",
        "GET /app/../node/state",
        "GET /app/%2e%2e/tx?transaction_id=%32.1",
        "GET http://user@host:99999/app/tx",
        "CONNECT host:443",
        "PRI *",
        "GET /node/network/nodes/?&&&=&=",
        "GET /app/tx?transaction_id=18446744073709551616.1",
        "POST /gov/members/proposals:create?api-version=2024-07-01",
        "POST /gov/members/proposals/07/ballots/08:submit?api-version=2024-07-01",
        "GET /gov/members/proposals/:withdraw",
        "GET /gov/service/users?api-version=2024-07-01&limit=1&after=%2",
        "GET /gov/service/javascript-modules/%2Flib%2Fa.js?api-version=2024-07-01",
        "GET /gov/service/members/{memberId}",
        "POST /gov/members/proposals/a{memberId}b/ballots/c:submit",
    ]);
    all.push(format!("GET /app/tx?{}", "a&".repeat(3000)).into_bytes());
    all.push(format!("GET {}", "/a".repeat(4000)).into_bytes());
    all
}

pub(crate) fn genesis() -> Vec<Vec<u8>> {
    let mut all = texts(&[
        r#"{"config": {"chainId": 31337}}"#,
        r#"{"config": {"chainId": "0x7a69", "londonBlock": 0, "shanghaiTime": 0, "cancunTime": 5, "coco": {"stateRoot": "mpt", "fees": true}}, "gasLimit": "0x1c9c380", "baseFeePerGas": "7", "alloc": {"00000000000000000000000000000000000000aa": {"balance": "1000", "nonce": "0x1", "code": "0x6000", "storage": {"0x1": "0x02"}}}}"#,
        r#"{"config": {"chainId": 1, "chainId": 2}}"#,
        r#"{"config": {"chainId": 1}, "alloc": {"0x00000000000000000000000000000000000000aa": {}, "00000000000000000000000000000000000000AA": {}}}"#,
        r#"{"config": {"chainId": 1e3}}"#,
        r#"{"config": {"chainId": "0x"}, "difficulty": "99999999999999999999999999999999999999999999999999999999999999999999999999999999"}"#,
    ]);
    all.push(r#"{"config":"#.repeat(DEPTH).into_bytes());
    all
}

pub(crate) fn config() -> Vec<Vec<u8>> {
    let good = "data_dir = \"n0\"\n[client]\nlisten = \"127.0.0.1:0\"\n[development_http]\nlisten = \"[::1]:8545\"\n\
                [peer]\nlisten = \"127.0.0.1:0\"\n[[nodes]]\nid = \"00\"\npeer = \"a:1\"\nclient = \"a:2\"\n\
                [limits]\nbatch_max = 5\n[consensus]\nheartbeat_ms = 10\n";
    vec![
        good.into(),
        good.replace("heartbeat_ms = 10", "heartbeat_ms = 18446744073709551615").into(),
        good.replace("heartbeat_ms = 10", "heartbeat_ms = 9223372036854775807").into(),
        good.replace("batch_max = 5", "batch_max = -1").into(),
        good.replace("[peer]", "[client]").into(),
        format!("a = {}", "[".repeat(DEPTH)).into(),
        "a.".repeat(DEPTH).into(),
        "[".repeat(DEPTH).into(),
    ]
}

pub(crate) fn write_set() -> Vec<Vec<u8>> {
    let mut huge = vec![0xff, 0xff];
    put_u64(&mut huge, u64::MAX);
    let mut many = vec![0xff, 0xff];
    put_u64(&mut many, 8);
    many.extend_from_slice(b"public:a");
    for number in [0, 0, u64::MAX / 16, 0] {
        put_u64(&mut many, number);
    }
    vec![huge, many]
}

pub(crate) fn chunk() -> Vec<Vec<u8>> {
    vec![
        vec![0; 8],
        vec![0xff; 64],
        b"ledger_1-2.committed\n\x08\0\0\0\0\0\0\0".to_vec(),
        // An entry of 2^48 - 1 bytes.
        [&[0; 8][..], &[1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &[7; 100]].concat(),
        [&[0; 8][..], &[1, 0, 0, 0, 0, 0, 0, 0], &[0; 100]].concat(),
    ]
}

pub(crate) fn consensus_message() -> Vec<Vec<u8>> {
    let message = |kind: u8, numbers: &[u64]| {
        let mut out = vec![1, kind];
        numbers.iter().for_each(|number| put_u64(&mut out, *number));
        out
    };
    vec![
        message(1, &[2, 2, 7, 5, u64::MAX]),
        message(1, &[2, 2, 7, 5, 1, 2, u64::MAX]),
        message(1, &[2, 2, 7, 5, 1, 2, 0]),
        message(2, &[2, 9, 5]),
        message(3, &[2, 9, 2, 5, 5]),
        [message(4, &[3, 2, 9, 2, 5]), vec![1]].concat(),
        [message(5, &[3, 2, 9, 0, 0]), vec![0]].concat(),
        [&[1, 6][..], &3_u64.to_le_bytes(), &[1], &[0; 16]].concat(),
        message(8, &[2, 5]),
        message(9, &[2, 5]),
        message(10, &[2]),
        message(8, &[u64::MAX, u64::MAX]),
        message(8, &[0, 0]),
    ]
}

pub(crate) fn hard_state() -> Vec<Vec<u8>> {
    let state = |view, vote| HardState { view: View(view), vote }.encode().to_vec();
    vec![state(0, None), state(7, Some(NodeId([9; 32]))), state(View::MAX.0, None), vec![0xff; 46]]
}

pub(crate) fn identifiers() -> Vec<Vec<u8>> {
    texts(&[
        "2.18",
        "02.018",
        "2.18446744073709551616",
        "+2.+1",
        "ledger_1",
        "ledger_1-15.committed",
        "ledger_01-15",
        "ledger_+1",
        "public:ccf.gov.nodes.info",
        "accounts",
        "00000000000000000000000000000000000000000000000000000000000000aA",
    ])
}

pub(crate) fn peer_frame() -> Vec<Vec<u8>> {
    let frame = |kind: u8, numbers: &[u64], rest: &[u8]| {
        let mut out = vec![kind];
        numbers.iter().for_each(|number| put_u64(&mut out, *number));
        [out, rest.to_vec()].concat()
    };
    vec![
        frame(1, &[], b"abc"),
        frame(2, &[7, 2, 1], b"x\0\0\0\0\0\0\0\0"),
        frame(2, &[7, u64::MAX], b""),
        frame(2, &[7, 1, u64::MAX], b""),
        frame(3, &[7, 1], &[0; 17]),
        frame(3, &[7, 1], &[3]),
        frame(3, &[7, 1], &[4; 33]),
        // The queue is full.
        frame(3, &[7, 1], &[5]),
        frame(3, &[7, 1], &[&[2][..], &[1; 8], &[1, 0, 0, 0, 0, 0, 0, 0], b"a", &[0]].concat()),
        // A text that is no text, and a flag that is neither yes nor no.
        frame(3, &[7, 1], &[&[2][..], &[1; 8], &[1, 0, 0, 0, 0, 0, 0, 0], &[0xff], &[0]].concat()),
        frame(3, &[7, 1], &[&[2][..], &[1; 8], &[0; 8], &[7], &[0; 8]].concat()),
        vec![9],
        // A member's request, and what becomes of it.
        frame(9, &[7], &[&[0][..], &[1, 0, 0, 0, 0, 0, 0, 0], b"e"].concat()),
        frame(9, &[7], &[&[2][..], &[1; 64], &[1, 0, 0, 0, 0, 0, 0, 0], b"e"].concat()),
        frame(9, &[7], &[&[1][..], &[1; 32], &[0xff; 8]].concat()),
        frame(10, &[7], &[&[1][..], &[1; 16], &[2, 0, 0, 0, 0, 0, 0, 0], b"{}"].concat()),
        frame(10, &[7], &[&[2, 12, 0, 0, 0, 0, 0, 0, 0][..], b"InvalidInput", &[0; 8]].concat()),
        frame(10, &[7], &[4; 33]),
        // A copy: the offer, a part of a snapshot, entries; and what would need more than there is.
        vec![6, 0],
        frame(6, &[], &frame(1, &[12, 14, 1 << 40], b"")),
        frame(6, &[], &frame(2, &[7], b"")),
        frame(7, &[], &frame(0, &[99, 1, 12, 14, 5], b"")),
        frame(7, &[], &frame(0, &[99, u64::MAX], b"")),
        frame(7, &[], &frame(1, &[], b"part")),
        frame(7, &[], &frame(2, &[2, 1], b"a\0\0\0\0\0\0\0\0")),
        frame(7, &[], &frame(2, &[u64::MAX], b"")),
        frame(7, &[], &frame(2, &[1, u64::MAX], b"")),
        vec![7, 3],
        frame(8, &[2, 7], b""),
    ]
}

pub(crate) fn stored_values() -> Vec<Vec<u8>> {
    let genesis = coco_evm::genesis::Genesis::parse(
        r#"{"config": {"chainId": 1, "londonBlock": 0, "shanghaiTime": 0, "cancunTime": 5}}"#,
    )
    .expect("it is well-formed");
    vec![
        [vec![1], genesis.config.encode()].concat(),
        [vec![2], vec![7; 40]].concat(),
        vec![0, 1, 0xff, 0xff, 0xff, 0xff],
        vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ]
}

pub(crate) fn snapshot() -> Vec<Vec<u8>> {
    let header = |size: u64| [&[1, 0], &size.to_le_bytes()[..6]].concat();
    vec![
        Vec::new(),
        header(0),
        // Entries of 2^48 - 1 bytes, of the longest that is read, and of one more.
        [header(u64::MAX), vec![7; 100]].concat(),
        [header((16 << 30) - 8), vec![7; 100]].concat(),
        [header((16 << 30) - 7), vec![7; 100]].concat(),
        [b"snapshot_1_2.committed\n".to_vec(), header(4), vec![7; 100]].concat(),
        b"snapshot_18446744073709551614_18446744073709551615.committed\n\x01\0\0\0\0\0\0\0x"
            .to_vec(),
        // A public part of 2^64 - 1 bytes.
        [vec![0; 16], 16_u64.to_le_bytes().to_vec(), vec![0, 0, 0, 0x80], vec![0xff; 8]].concat(),
    ]
}

pub(crate) fn state_image() -> Vec<Vec<u8>> {
    let map = |name: &str, version: u64, length: u64, items: &[u8]| {
        let mut out = vec![0, 9];
        put_u64(&mut out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
        put_u64(&mut out, version);
        put_u64(&mut out, length);
        [out, items.to_vec()].concat()
    };
    let item = |key: u64, value: u64, seqno: u64| {
        [key, 0, value, seqno].iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()
    };
    vec![
        map("public:a", 9, 32, &item(8, 8, 9)),
        map("public:a", 9, 64, &[item(8, 8, 9), item(8, 8, 9)].concat()),
        map("public:a", 9, 32, &item(8, 8, 10)),
        map("public:a", 9, 32, &item(8, 8, 0)),
        map("public:a", 9, 32, &item(u64::MAX, 8, 9)),
        map("public:a", 9, 32, &item(8, u64::MAX, 9)),
        map("public:a", 9, 0, &[]),
        map("public:a", 9, u64::MAX, &[]),
        map("a", 9, 32, &item(8, 8, 9)),
        vec![0, 9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ]
}

pub(crate) fn recovery_share() -> Vec<Vec<u8>> {
    let share = |position: u32, limb: u32| {
        [position.to_le_bytes().to_vec(), limb.to_le_bytes().repeat(10)].concat()
    };
    // The field is of the numbers below 2^31 - 1.
    let prime = (1 << 31) - 1;
    [(1, 5), (0, 5), (255, 7), (256, 5), (u32::MAX, 5), (1, prime - 1), (1, prime), (1, u32::MAX)]
        .map(|(position, limb)| share(position, limb))
        .into_iter()
        .chain([vec![1; 43], vec![1; 45], vec![0; 44]])
        .collect()
}

pub(crate) fn ledger_secrets() -> Vec<Vec<u8>> {
    let period = |from: u64| [&from.to_le_bytes()[..], &[7; 32]].concat();
    vec![
        period(1),
        [period(1), period(9)].concat(),
        [period(9), period(1)].concat(),
        [period(9), period(9)].concat(),
        [period(0), period(u64::MAX)].concat(),
        period(5),
        period(1)[..39].to_vec(),
        (1..=25).flat_map(period).collect(),
    ]
}

pub(crate) fn key_pem() -> Vec<Vec<u8>> {
    let mut all = texts(&[
        include_str!("../fixture/encryption_pubk.pem"),
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nMIL/////\n-----END PRIVATE KEY-----\n",
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIA==\n-----END EC PRIVATE KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjAN\n-----END PUBLIC KEY-----\n",
    ]);
    all.push("-----BEGIN PRIVATE KEY-----\n".repeat(200).into_bytes());
    all.push(format!("-----BEGIN PUBLIC KEY-----\n{}", "A".repeat(8000)).into_bytes());
    all
}

pub(crate) fn node_join() -> Vec<Vec<u8>> {
    let id = crate::ledger::node().key().node_id().to_string();
    let pem = include_str!("../fixture/encryption_pubk.pem").replace('\n', "\\n");
    let quote = |measurement: &str, of: &str| {
        let platform = "INSECURE virtual platform: proves nothing";
        let zero = "00".repeat(32);
        STANDARD.encode(format!(
            r#"{{"platform":"{platform}","measurement":"{measurement}","report_data":"{of}{zero}"}}"#
        ))
    };
    let body = |format: &str, quote: &str, address: &str, pem: &str| {
        format!(
            r#"{{"node_info_network":{{"node_to_node_interface":{{"published_address":"{address}"}},"rpc_interfaces":{{"primary_rpc_interface":{{"published_address":"127.0.0.1:8000"}}}}}},"quote_info":{{"format":"{format}","quote":"{quote}","endorsements":""}},"public_encryption_key":"{pem}"}}"#
        )
    };
    let (kind, code) = ("Insecure_Virtual", "ab".repeat(32));
    let good = quote(&code, &id);
    let mut all = texts(&[
        &body(kind, &good, "127.0.0.1:8001", &pem),
        &body(kind, &good, "[::1]:1", &pem),
        &body(kind, &good, "a", &pem),
        &body(kind, &good, &"a:".repeat(300), &pem),
        &body(kind, &good, "a\\u0000:\\ud83d\\ude00", &pem),
        &body(kind, &good, "a:1", &"A".repeat(2000)),
        &body(kind, &quote(&code, &"00".repeat(32)), "a:1", &pem),
        &body(kind, &quote("ab", &id), "a:1", &pem),
        &body(kind, &STANDARD.encode("[".repeat(3000)), "a:1", &pem),
        &body(kind, "====", "a:1", &pem),
        &body("AMD_SEV_SNP_v1", &good, "a:1", &pem),
        &body(kind, &good, "a:1", &format!(r#"{pem}","certificate_signing_request":"PEM"#)),
        r#"{"quote_info":{},"quote_info":{}}"#,
    ]);
    all.push(r#"{"node_info_network":"#.repeat(2000).into_bytes());
    all
}

/// An answer of each kind, and each kind as what it is not.
pub(crate) fn client_answer() -> Vec<Vec<u8>> {
    let id = "ab".repeat(32);
    let bodies = [
        format!(r#"{{"service_status":"Open","service_certificate":"PEM","current_view":2,"primary_id":"{id}","recovery_count":0,"service_data":{{"a":[1]}},"current_service_create_txid":"2.1"}}"#),
        format!(r#"{{"nodes":[{{"node_id":"{id}","status":"Trusted","primary":true,"rpc_interfaces":{{"a":{{"bind_address":"a:1","published_address":"a:1","protocol":"HTTP2"}}}},"node_data":null,"last_written":3}}]}}"#),
        format!(r#"{{"node_id":"{id}","state":"PartOfNetwork","last_signed_seqno":5,"startup_seqno":0,"stop_notice":false}}"#),
        r#"{"transaction_id":"2.18","view_history":["2.1"]}"#.to_owned(),
        r#"{"status":"Open","certificate":"PEM","recoveryCount":1,"creationTransactionId":"2.1","serviceData":{"a":[1]},"configuration":null}"#.to_owned(),
        format!(r#"{{"value":[{{"nodeId":"{id}","status":"Trusted","nodeData":{{"name":"a"}},"quoteInfo":{{"format":"Insecure_Virtual","details":[]}}}}]}}"#),
        format!(r#"{{"value":[{{"memberId":"{id}","status":"Active","memberData":{{"name":"a"}},"certificate":"PEM","publicEncryptionKey":"PEM","recoveryRole":"Participant"}}]}}"#),
        format!(r#"{{"memberId":"{id}","status":"Accepted","memberData":null,"certificate":"PEM","extra":1}}"#),
        format!(r#"{{"value":[{{"proposalId":"{id}","proposerId":"{id}","proposalState":"Open","ballotCount":1,"ballotSubmitters":["{id}"],"finalVotes":{{"{id}":true}}}}]}}"#),
        format!(r#"{{"proposalId":"{id}","proposerId":"{id}","proposalState":"Failed","voteFailures":{{"{id}":{{"reason":"a","trace":"b"}}}},"failure":{{"reason":"a","trace":null}},"admittedAt":1,"expiresAt":18446744073709551615}}"#),
        r#"{"actions":[{"name":"set_note","args":{"text":"hello","x":[0.1,-1,1e300,2222222222222212222222221]}}]}"#.to_owned(),
        r#"{"writes":[{"table":"public:a","key":"k","value":null}],"effects":["a"]}"#.to_owned(),
        r#"{"status":"Committed","transaction_id":"2.18"}"#.to_owned(),
        format!(r#"{{"node_status":"Trusted","node_id":"{id}","network_info":{{"public_only":false,"service_status":"Open","identity":{{"cert":"PEM","priv_key":"AA=="}},"ledger_secrets":[{{"seqno":1,"secret":"AA=="}}],"endorsed_certificate":"PEM","nodes":[{{"node_id":"{id}","peer_address":"a:1","client_address":"a:2"}}]}}}}"#),
        r#"{"error":{"code":"ProposalNotFound","message":"no","details":[1]}}"#.to_owned(),
        format!(r#"{{"details":{{"configs":[{{"nodes":{{"{id}":{{"address":"a:1"}}}}}}],"current_view":2,"leadership_state":"Leader","learners":{{}},"membership_state":"Active","primary_id":"{id}","reconfiguration_type":"OneTransaction","ticking":true}}}}"#),
        r#"{"sgx":{"measurements":[]},"virtual":{"measurements":["ab"],"hostData":[]},"snp":{"measurements":[],"hostData":{},"uvmEndorsements":{},"tcbVersions":{}}}"#.to_owned(),
    ];
    let mut all = Vec::new();
    for kind in 0..KINDS {
        let body = &bodies[usize::from(kind)];
        all.push([&[kind], body.as_bytes()].concat());
        all.push([&[kind], "[".repeat(5000).as_bytes()].concat());
        all.push([&[kind], r#"{"value":"#.repeat(500).as_bytes()].concat());
        all.push([&[kind], body.replacen(":", ":null,\"a\":", 1).as_bytes()].concat());
    }
    all.push([&[KINDS - 1], &b"\xff\xf0"[..]].concat());
    all.push([&[KINDS - 1][..], "ü".repeat(300).as_bytes()].concat());
    all
}
