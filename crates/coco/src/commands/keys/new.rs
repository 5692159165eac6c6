//! `coco keys new`: a key with a certificate that it signs itself.

use std::sync::Arc;

use coco_client::MemberId;
use coco_crypto::{
    CertificateError, Curve, DecryptionKey, Ed25519Key, MemberSigner, SecretBytes, Signer,
    SigningKey, Validity,
};
use serde_json::json;

use super::{FolderArgs, files_of};
use crate::{
    codes::Code,
    device::Made,
    fault::{Fault, chain},
    files::{self, Rights},
    key_place::location,
    output::{Output, utc},
    signing::now,
};

#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// Whose key it is: letters, digits, `-` and `.`, for example the organisation's name
    name: String,
    #[command(flatten)]
    folder: FolderArgs,
    /// On which curve; P-384 if it is not said. Keys of Ed25519 sign requests, and are in files only
    #[arg(long, value_enum)]
    curve: Option<Kind>,
    /// For how many days the certificate is valid
    #[arg(long, default_value_t = 3_650, value_parser = clap::value_parser!(u64).range(1..=DAYS_MAX))]
    days: u64,
    /// Keep the key in a device, by a URI of PKCS #11. One that is there under that name is taken, and otherwise it is made there
    #[arg(long, value_name = "URI")]
    pkcs11: Option<String>,
    /// Make a key for recovery shares, too: in a file
    #[arg(long)]
    encryption: bool,
}

/// Longest time for which a certificate is made: a hundred years.
const DAYS_MAX: u64 = 36_500;
/// Longest name of a file's beginning.
const NAME_BYTES_MAX: usize = 64;
/// Clocks differ: a certificate is valid from a little before it is made.
const BEFORE_S: u64 = 300;

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    P256,
    P384,
    P521,
    Ed25519,
}

impl Kind {
    /// The curve of ECDSA; nothing for Ed25519.
    const fn curve(self) -> Option<Curve> {
        match self {
            Self::P256 => Some(Curve::P256),
            Self::P384 => Some(Curve::P384),
            Self::P521 => Some(Curve::P521),
            Self::Ed25519 => None,
        }
    }
}

pub(crate) fn run(arguments: &NewArgs, output: Output) -> Result<(), Fault> {
    let name = &arguments.name;
    let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_known) {
        return Err(Fault::new(Code::FileUnwritable, format!("{name:?} is no name of a file"))
            .because(&std::io::Error::other("a name has letters, digits, - and . alone")));
    }
    let paths = files_of(&arguments.folder.folder()?, name);
    let now = now()?;
    let validity = Validity {
        not_before: now.saturating_sub(BEFORE_S),
        not_after: now.saturating_add(arguments.days * 86_400),
    };
    // All or none: half of a member is of no use, and would be in the way. Nothing is made in a device for one who cannot be kept.
    let mut wanted = vec![&paths.cert];
    wanted.extend(arguments.pkcs11.is_none().then_some(&paths.key));
    if arguments.encryption {
        wanted.extend([&paths.encryption_private, &paths.encryption_public]);
    }
    if let Some(path) = wanted.into_iter().find(|path| path.exists()) {
        return Err(Fault::new(Code::FileExists, path.display().to_string()));
    }
    let (signer, key) = make(arguments)?;
    let certificate = signer.certify(name, validity).map_err(|error| {
        let code = match error {
            CertificateError::Sign(_) => Code::DeviceUnusable,
            _ => Code::Failed,
        };
        Fault::new(code, chain(&error))
    })?;
    let cert = SecretBytes::new(certificate.pem().into_bytes());
    let mut made: Vec<(&std::path::PathBuf, SecretBytes, Rights)> =
        key.into_iter().map(|key| (&paths.key, key, Rights::Private)).collect();
    made.push((&paths.cert, cert, Rights::Public));
    if arguments.encryption {
        let key = DecryptionKey::generate_long();
        let public = SecretBytes::new(key.public().pem().into_bytes());
        made.push((&paths.encryption_private, key.pem(), Rights::Private));
        made.push((&paths.encryption_public, public, Rights::Public));
    }
    for (path, bytes, rights) in &made {
        files::create(path, bytes.expose(), *rights)?;
    }
    let files: Vec<String> = made.iter().map(|(path, ..)| path.display().to_string()).collect();
    let id = MemberId(certificate.digest()).to_string();
    let until = utc(validity.not_after);
    let members = json!({ "name": name, "member_id": id, "not_after": until, "files": files });
    output.print("keys.new", members, || {
        format!(
            "{name}\n  member id  {id}\n  until      {until}\n  files      {}\n\
             Next: coco keys export-public {}, and hand that to the members",
            files.join("\n             "),
            paths.cert.display(),
        )
    });
    Ok(())
}

/// Makes the key, or finds it in its device. With it comes what is written to a file: nothing of a device's.
fn make(arguments: &NewArgs) -> Result<(MemberSigner, Option<SecretBytes>), Fault> {
    let kind = arguments.curve.unwrap_or(Kind::P384);
    Ok(match (&arguments.pkcs11, kind.curve()) {
        (Some(_), None) => {
            let message = "keys of Ed25519 are in files: a device makes P-256, P-384 and P-521";
            return Err(Fault::new(Code::DeviceUnusable, message));
        }
        (Some(uri), Some(curve)) => {
            let wanted = arguments.curve.is_some().then_some(curve);
            let (key, made) = location(uri)?.find_or_make(wanted)?;
            if made == Made::Now {
                eprintln!("made in the device: a key on {:?}", key.public().curve());
            }
            (MemberSigner::Ecdsa(Arc::new(key)), None)
        }
        (None, Some(curve)) => {
            let key = SigningKey::generate(curve);
            let pem = key.to_pem();
            (MemberSigner::Ecdsa(Arc::new(key)), Some(pem))
        }
        (None, None) => {
            let key = Ed25519Key::generate();
            let pem = key.to_pem();
            (MemberSigner::Ed25519(key), Some(pem))
        }
    })
}
