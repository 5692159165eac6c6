//! Where a member's private key is: in a file, or in a device.

use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use coco_client::MemberKey;
use coco_crypto::MemberSigner;
use serde::{Deserialize, Serialize};

use crate::{
    codes::Code,
    device::{DeviceKey, Location, SCHEME},
    fault::{Fault, chain},
    files,
    session::signer_certificate,
};

/// As it is typed, and kept in contexts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) enum KeyPlace {
    /// A file of PEM.
    File(PathBuf),
    /// A key in a device, by its URI.
    Device(String),
}

impl From<String> for KeyPlace {
    fn from(text: String) -> Self {
        if text.starts_with(SCHEME) { Self::Device(text) } else { Self::File(text.into()) }
    }
}

impl From<KeyPlace> for String {
    fn from(place: KeyPlace) -> Self {
        place.to_string()
    }
}

impl FromStr for KeyPlace {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.to_owned().into())
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Device(uri) => f.write_str(uri),
        }
    }
}

impl KeyPlace {
    /// The same from any folder. A device whose module or PIN lies in the folder in which somebody stands is refused.
    pub(crate) fn absolute(&self) -> Result<Self, Fault> {
        match self {
            Self::File(path) => std::path::absolute(path)
                .map(Self::File)
                .map_err(|error| Fault::new(Code::FileUnreadable, chain(&error))),
            Self::Device(uri) if location(uri)?.is_absolute() => Ok(self.clone()),
            Self::Device(_) => {
                let message = "module-path and pin-source are whole paths, since contexts are used from any folder";
                Err(Fault::new(Code::DeviceUnusable, message))
            }
        }
    }

    /// The key with its certificate. A file that others can read is refused; a device is not asked before it is to sign.
    pub(crate) fn read(&self, cert: &Path) -> Result<MemberKey, Fault> {
        match self {
            Self::File(key) => read_file(key, cert),
            Self::Device(uri) => {
                let certificate = signer_certificate(&files::read_text(cert)?)?;
                let public = certificate.ecdsa_key().ok_or_else(|| {
                    Fault::new(Code::KeyUnusable, "keys of Ed25519 are in files, not in devices")
                })?;
                let key = DeviceKey::new(location(uri)?, public.clone());
                MemberKey::of(MemberSigner::Ecdsa(Arc::new(key)), certificate)
                    .map_err(|error| Fault::new(Code::KeyUnusable, chain(&error)))
            }
        }
    }
}

/// Reads a URI.
pub(crate) fn location(uri: &str) -> Result<Location, Fault> {
    // The URI is not repeated: somebody may have typed a PIN into it.
    uri.parse().map_err(|wrong: String| Fault::new(Code::DeviceUnusable, wrong))
}

fn read_file(key: &Path, cert: &Path) -> Result<MemberKey, Fault> {
    if !files::is_private(key)? {
        return Err(Fault::new(Code::KeyOpenToOthers, key.display().to_string()));
    }
    // Wiped when it is not needed any more.
    let secret = coco_crypto::SecretBytes::new(files::read(key)?);
    let text = str::from_utf8(secret.expose())
        .map_err(|_| Fault::new(Code::KeyUnusable, "the private key is not text"))?;
    MemberKey::from_pem(text, &files::read_text(cert)?).map_err(|error| {
        Fault::new(Code::KeyUnusable, chain(&error))
            .with("key", key.display().to_string())
            .with("cert", cert.display().to_string())
    })
}
