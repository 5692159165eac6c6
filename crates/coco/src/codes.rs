//! Every error that a command can end with: its code, its exit code, its usual cause and the next step.
//!
//! Codes and exit codes are interface: programs go by them. A code that is no longer given keeps its number.

/// What a process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    Denied = 3,
    NotFound = 4,
    Conflict = 5,
    Unreachable = 6,
    DoesNotVerify = 7,
    OutcomeUnknown = 8,
}

/// What is known of a code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) exit: Exit,
    pub(crate) title: &'static str,
    pub(crate) cause: &'static str,
    pub(crate) next: &'static str,
}

macro_rules! codes {
    ($($number:literal $name:ident $exit:ident $title:literal $cause:literal $next:literal)*) => {
        /// The number of an error, printed `COCO-1234`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $($name = $number,)*
        }

        impl Code {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub(crate) const fn entry(self) -> Entry {
                match self {
                    $(Self::$name => {
                        Entry { exit: Exit::$exit, title: $title, cause: $cause, next: $next }
                    })*
                }
            }
        }
    };
}

codes! {
1000 Failed Failed
    "the command failed"
    "see the message"
    "correct what the message names, and run the command again"
1001 FileUnreadable Failed
    "a file cannot be read"
    "it is not there, may not be read, or is larger than such a file can be"
    "check the path and the rights: ls -l FILE"
1002 FileUnwritable Failed
    "a file cannot be written"
    "the folder is not there, may not be written, or is full"
    "check the folder: ls -ld DIR; df DIR"
1003 FileExists Conflict
    "the file is there already"
    "keys and certificates are never overwritten"
    "choose another name, or move the file away yourself"
1004 ConfigUnusable Usage
    "the configuration of a node cannot be used"
    "a setting is not known, is missing, or has a value that means nothing"
    "correct the setting that is named; coco node config show --config FILE --origin shows all of a file that can be used"
1005 PlaceOther Conflict
    "the node has asked to join under other addresses"
    "the network keeps where a node is reached from when it asked first"
    "--client and --peer as then; for others begin with another --dir, and have members remove the first: coco network retire-node"
1006 Usage Usage
    "the command line is not understood"
    "a word is unknown, missing, or not possible here"
    "coco COMMAND --help shows what is possible, with an example"
1007 AddressTaken Failed
    "an address cannot be listened on"
    "another process listens there already, or it is no address of this machine"
    "see who has the port: ss -ltnp; or choose another in the configuration"
1010 NoNetwork Usage
    "it is not said which network"
    "neither --url, COCO_URL nor a context names one"
    "coco context add NAME --url https://HOST:PORT --service-id sha256:DIGEST, or coco context use NAME"
1011 ContextUnknown NotFound
    "there is no such context"
    "it was never added, or was removed"
    "coco context ls"
1012 ContextsUnreadable Failed
    "the file of contexts cannot be read"
    "it was edited by hand, or is of a newer version"
    "correct the line that is named, or move the file away"
1013 NoServiceCertificate Usage
    "it is not said which service is trusted"
    "https is believed by the certificate of the service alone"
    "--service-cert FILE, or a context: coco context add NAME --url URL --service-id sha256:DIGEST"
1014 UrlInvalid Usage
    "the URL names no node"
    "a node is named by https://HOST:PORT, without a path"
    "correct the URL"
1015 ServiceIdentityOther DoesNotVerify
    "the service is another than the one that is expected"
    "the URL leads to another network, or somebody stands between, or the service was recovered and has a new identity"
    "ask another member for the identity, and do not go on before it is the same"
1016 HereUnusable Usage
    "the coco.toml of this folder cannot be used"
    "it may say context and timeout; what is trusted, and whose key signs, is said by contexts alone, since a folder may come from others"
    "correct the line that is named: coco context add NAME for a network, then context = \"NAME\""
1017 PlainHttp Usage
    "a secret is not sent over plain HTTP"
    "over plain HTTP no node proves that it is one of the service, and others can read what is sent"
    "--url https://HOST:PORT --service-cert FILE, or a context of such a node"
1020 NoKey Usage
    "it is not said whose key signs"
    "neither --key and --cert, COCO_KEY and COCO_CERT, nor the context names them"
    "--key FILE --cert FILE, or coco context add NAME ... --key FILE --cert FILE"
1021 KeyUnusable Failed
    "the key or the certificate cannot be used"
    "not PEM, under a password, of another kind than P-256, P-384 or P-521, or not belonging together"
    "coco keys show FILE"
1022 KeyOpenToOthers Denied
    "others on this machine can read the private key"
    "the file's rights let its group or everybody read it"
    "chmod 600 FILE, and think about whether the key is still yours alone"
1023 NotSigned Conflict
    "nothing was signed"
    "what was typed is not what was asked for"
    "run the command again; --yes signs without a question"
1024 EnvelopeUnusable Failed
    "the file is no request that can be used here"
    "it is none, is signed already, is not signed yet, or is another member's"
    "coco keys sign FILE for one that is not signed; coco proposal submit FILE for one that is"
1025 DeviceUnusable Failed
    "the key in a device cannot be used"
    "the URI or the module is wrong, the device is not there, the PIN is wrong, or the device does not know the key"
    "coco keys pkcs11 --module FILE; a device locks itself after some wrong PINs"
1030 NotListed NotFound
    "there is no such error code"
    "codes are four digits, with or without COCO- before them"
    "coco explain"
1040 NotDisclosed Denied
    "members have not agreed to disclose these entries"
    "no proposal to disclose a range with all of them was accepted in this copy of the ledger"
    "coco proposal create disclose --from FROM --to TO --reason WHY; once it is accepted, take a newer copy"
1041 SharesMissing Denied
    "there are too few recovery shares"
    "fewer members brought their shares than the members decided on"
    "have another recovery member run: coco ledger share DIR --key FILE --out FILE"
1042 ShareWrong DoesNotVerify
    "a recovery share cannot be used"
    "it is of another service, was dealt before the last rekey or refresh, or was altered"
    "take it out of this copy of the ledger again: coco ledger share DIR --key FILE --out FILE"
1050 Unhealthy Failed
    "something is wrong with the network"
    "what is marked FAIL"
    "do what stands after next, and run it again: coco doctor"
2001 MemberNotFound NotFound
    "there is no such member"
    "the id or name is mistyped, or the member was removed"
    "coco member ls"
2002 ProposalNotFound NotFound
    "there is no such proposal"
    "the id is mistyped, or it was decided before the last one that was: those are in the ledger alone"
    "coco proposal ls"
2003 ProposalNotOpen Conflict
    "the proposal is not open any more"
    "it was decided, withdrawn or dropped meanwhile"
    "coco proposal show ID"
2004 ProposalReplay Conflict
    "the proposal was submitted before"
    "this very request arrived already"
    "coco proposal ls"
2005 ProposalTime Conflict
    "the time at which the request was made does not count"
    "the clock of this machine is wrong, or the request lay around while others were made"
    "check the clock, and make the request anew"
2006 MemberNotActive Denied
    "the service does not take this member's signature"
    "the key is not that of a member, or the member has not acknowledged the state, or was removed"
    "coco member ls; coco member activate"
2007 Denied Denied
    "the service does not allow it"
    "what was asked for is another's to do"
    "see what the service said"
2008 VoteExists Conflict
    "another ballot of this member is there already"
    "a ballot cannot be changed"
    "coco proposal show ID"
2009 ProposalInvalid Conflict
    "the constitution does not take the proposal"
    "an action is unknown, or its arguments are not what it takes"
    "coco proposal validate FILE"
2010 ProposalFails Conflict
    "the proposal cannot be carried out as things are"
    "an action stopped it, for example because what it names is not there"
    "see what the service said; coco proposal simulate FILE"
2011 StateDigestOther Conflict
    "another state digest waits to be acknowledged"
    "it was asked for again meanwhile"
    "coco member activate"
2012 ProposalsTooMany Conflict
    "the member has too many open proposals"
    "each takes room until it is decided"
    "coco proposal ls; coco proposal withdraw ID"
2013 Ambiguous Usage
    "the short id fits several"
    "too few digits"
    "give more digits of the id"
2014 DocumentInvalid Usage
    "the document is no proposal"
    "it is not JSON of the form {\"actions\": [{\"name\": ..., \"args\": {...}}]}"
    "correct it; coco proposal create KIND --offline FILE makes one"
2015 GovernanceAbsent NotFound
    "the node does not serve governance"
    "it is of an older version"
    "upgrade the node, or ask another: --url"
2016 NodeNotFound NotFound
    "there is no such node"
    "the id is mistyped, or the node never asked to join this network"
    "coco status"
2017 UserNotFound NotFound
    "there is no such participant"
    "the id is mistyped, the participant was removed, or it is the user of an organisation: those are not listed"
    "coco user ls"
2018 LedgerOlder DoesNotVerify
    "the recovered ledger does not keep what a receipt proves"
    "it was recovered from a copy that ends before it, or that went on in another way: what came after is lost once the service is open"
    "do not open it: have it recovered from a longer copy, coco network recover LEDGER --receipt FILE; coco proposal vote ID --reject"
3001 Unreachable Unreachable
    "no node can be reached"
    "it does not run, the address is wrong, or a firewall is between"
    "check the address; ask another node: --url"
3002 Late Unreachable
    "no node answered in time"
    "it is overloaded or cut off from the others"
    "coco status; more patience: --timeout SECONDS"
3003 NotTheService DoesNotVerify
    "whoever answers does not prove that it is a node of the service"
    "another network, somebody in between, an expired certificate, or a host name that the certificate does not have"
    "compare the service's identity: coco context show"
3004 OutcomeUnknown OutcomeUnknown
    "the request was sent and nobody said what became of it"
    "the connection broke before the answer came"
    "send the same request again, which does no harm: coco proposal submit FILE"
3005 NotUnderstood Failed
    "the answer is not understood"
    "the node is of another version than this program"
    "coco --version, and that of the node: coco status"
3006 ServiceFailed Failed
    "the node failed"
    "something broke inside of it"
    "look at its log"
3007 NoPrimary Unreachable
    "the network has no primary at the moment"
    "an election, or too few nodes for a quorum"
    "try again in some seconds; coco status"
3008 NotFound NotFound
    "the node does not know it"
    "it is not there, or the node does not serve it"
    "see what the node said"
3009 Refused Failed
    "the node refused"
    "see what the node said"
    "correct what it names"
7001 DoesNotVerify DoesNotVerify
    "it does not verify"
    "the file was changed or damaged, or belongs to another service"
    "get it again from its source, and compare the service's certificate"
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "COCO-{:04}", *self as u16)
    }
}

impl std::str::FromStr for Code {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.to_ascii_uppercase();
        let digits = digits.strip_prefix("COCO-").unwrap_or(&digits);
        let number: u16 = digits.parse().map_err(|_| ())?;
        Self::ALL.iter().copied().find(|code| *code as u16 == number).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_says_what_to_do() {
        for code in Code::ALL {
            let Entry { title, cause, next, .. } = code.entry();
            for text in [title, cause, next] {
                assert!(text.len() > 8 && !text.ends_with('.'), "{code}: {text:?}");
            }
            assert_eq!(code.to_string().parse(), Ok(*code));
        }
    }

    #[test]
    fn codes_are_read_as_people_write_them() {
        for text in ["COCO-2007", "coco-2007", "2007"] {
            assert_eq!(text.parse(), Ok(Code::Denied));
        }
        for text in ["", "COCO-", "9999", "COCO-x", "99999999"] {
            assert_eq!(text.parse::<Code>(), Err(()));
        }
    }
}
