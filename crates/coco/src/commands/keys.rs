//! `coco keys`: the keys of members, in PEM files under the names that CCF's tools give them.
//!
//! | file | what |
//! |---|---|
//! | `NAME_privk.pem` | private key, the owner's alone |
//! | `NAME_cert.pem` | certificate, by which the service knows the member |
//! | `NAME_enc_privk.pem`, `NAME_enc_pubk.pem` | key to which recovery shares are encrypted |

mod export_public;
mod ls;
mod new;
mod pkcs11;
mod show;
mod sign;

use std::path::{Path, PathBuf};

use coco_crypto::{DecryptionKey, SecretBytes};

use crate::{
    codes::Code,
    contexts,
    fault::{Fault, chain},
    files,
    output::Output,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeysCommand {
    /// Make the key and certificate of a member
    #[command(
        after_help = "Examples:\n  coco keys new acme --encryption\n  coco keys new acme --pkcs11 'pkcs11:token=bank;object=acme?module-path=/usr/lib/softhsm/libsofthsm2.so'"
    )]
    New(new::NewArgs),
    /// List the keys in a folder
    #[command(after_help = "Example:\n  coco keys ls")]
    Ls(FolderArgs),
    /// List the keys that a device shows without its PIN
    #[command(after_help = "Example:\n  coco keys pkcs11 --module /usr/lib/softhsm/libsofthsm2.so")]
    Pkcs11(pkcs11::Pkcs11Args),
    /// Show a member's certificate: its id, curve and period
    #[command(after_help = "Example:\n  coco keys show acme")]
    Show(show::ShowArgs),
    /// Print what others need to admit you: certificate and encryption key
    #[command(after_help = "Example:\n  coco keys export-public acme > acme.pem")]
    ExportPublic(export_public::ExportArgs),
    /// Sign a request that was written with --offline
    #[command(
        after_help = "Example:\n  coco keys sign vote.cose --key acme_privk.pem --cert acme_cert.pem"
    )]
    Sign(sign::SignArgs),
}

/// Where keys are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FolderArgs {
    /// The folder of keys; `coco/keys` in the folder of settings without it
    #[arg(long, value_name = "DIR", env = "COCO_KEYS_DIR")]
    dir: Option<PathBuf>,
}

impl FolderArgs {
    fn folder(&self) -> Result<PathBuf, Fault> {
        self.dir.clone().map_or_else(|| Ok(contexts::folder()?.join("keys")), Ok)
    }

    /// The certificate that somebody means by a file or by a name in the folder.
    fn find(&self, name: &str) -> Result<PathBuf, Fault> {
        let path = Path::new(name);
        if path.is_file() {
            return Ok(path.to_owned());
        }
        let path = files_of(&self.folder()?, name).cert;
        if path.is_file() {
            return Ok(path);
        }
        let message = format!("{name} is no file, and {} is not there", path.display());
        Err(Fault::new(Code::FileUnreadable, message).next("coco keys ls"))
    }
}

/// The files of one member.
struct Files {
    key: PathBuf,
    cert: PathBuf,
    encryption_private: PathBuf,
    encryption_public: PathBuf,
}

fn files_of(folder: &Path, name: &str) -> Files {
    let of = |what: &str| folder.join(format!("{name}_{what}.pem"));
    Files {
        key: of("privk"),
        cert: of("cert"),
        encryption_private: of("enc_privk"),
        encryption_public: of("enc_pubk"),
    }
}

/// The encryption key that lies beside a certificate under the same name.
fn encryption_key_beside(cert: &Path) -> Option<PathBuf> {
    let name = cert.file_name()?.to_str()?.strip_suffix("_cert.pem")?;
    Some(files_of(cert.parent()?, name).encryption_public).filter(|path| path.is_file())
}

/// What an encryption key in PEM is compared by; a word where it is none.
pub(crate) fn fingerprint(pem: &str) -> String {
    match coco_crypto::decode_pem(PUBLIC_KEY, pem) {
        Ok(Some(der)) => format!("sha256:{}", coco_crypto::sha256(der.expose())),
        Ok(None) | Err(_) => "that cannot be read".to_owned(),
    }
}

/// The fingerprint of the encryption key that lies beside a certificate, if one does.
pub(crate) fn fingerprint_beside(cert: &Path) -> Result<Option<String>, Fault> {
    let path = encryption_key_beside(cert);
    path.map(|path| Ok(fingerprint(&public_key(&path)?))).transpose()
}

/// The private half, likewise, or as `coco dev` calls it.
pub(crate) fn private_encryption_key_beside(cert: &Path) -> Option<PathBuf> {
    let (folder, name) = (cert.parent()?, cert.file_name()?.to_str()?);
    let by_name = name.strip_suffix("_cert.pem").map(|name| files_of(folder, name));
    let of_dev = name.strip_suffix(".cert.pem").map(|name| format!("{name}.enc.key.pem"));
    let paths =
        [by_name.map(|files| files.encryption_private), of_dev.map(|name| folder.join(name))];
    paths.into_iter().flatten().find(|path| path.is_file())
}

pub(crate) fn run(command: &KeysCommand, output: Output) -> Result<(), Fault> {
    match command {
        KeysCommand::New(arguments) => new::run(arguments, output),
        KeysCommand::Ls(arguments) => ls::run(arguments, output),
        KeysCommand::Pkcs11(arguments) => pkcs11::run(arguments, output),
        KeysCommand::Show(arguments) => show::run(arguments, output),
        KeysCommand::ExportPublic(arguments) => export_public::run(arguments),
        KeysCommand::Sign(arguments) => sign::run(arguments, output),
    }
}

/// What the block of a public key is called in PEM.
const PUBLIC_KEY: &str = "PUBLIC KEY";

/// The public key in a file, in PEM; nothing else of the file.
pub(crate) fn public_key(path: &Path) -> Result<String, Fault> {
    let unusable = |message: String| {
        Fault::new(Code::KeyUnusable, message).with("file", path.display().to_string())
    };
    let text = files::read_text(path)?;
    let der = coco_crypto::decode_pem(PUBLIC_KEY, &text)
        .map_err(|error| unusable(error.to_string()))?
        .ok_or_else(|| unusable("no block BEGIN PUBLIC KEY".to_owned()))?;
    let pem = coco_crypto::encode_pem(PUBLIC_KEY, der.expose());
    Ok(String::from_utf8_lossy(pem.expose()).into_owned())
}

/// Reads the private half of an encryption key. One that others can read is refused.
pub(crate) fn decryption_key(path: &Path) -> Result<DecryptionKey, Fault> {
    if !files::is_private(path)? {
        return Err(Fault::new(Code::KeyOpenToOthers, path.display().to_string()));
    }
    let text = SecretBytes::new(files::read(path)?);
    let unusable = |cause: String| {
        Fault::new(Code::KeyUnusable, path.display().to_string())
            .because(&std::io::Error::other(cause))
    };
    let text = str::from_utf8(text.expose()).map_err(|error| unusable(error.to_string()))?;
    DecryptionKey::from_pem(text).map_err(|error| unusable(chain(&error)))
}
