//! Stores of objects: from the name of a bucket and the environment to a client of object_store.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use featvec::ErrorKind;
use http_body_util::{BodyExt, Limited};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Url};

use super::failure::{Attempt, Failure};
use super::location::{Bucket, Service};
use super::{RemoteOptions, Timeouts};

/// The clients of all buckets that were named so far.
#[derive(Debug)]
pub(super) struct Stores {
    connector: Connector,
    variables: BTreeMap<String, String>,
    open: Mutex<HashMap<Bucket, Arc<dyn ObjectStore>>>,
}

impl Stores {
    pub fn new(client: Client, options: &RemoteOptions) -> Stores {
        let connector = Connector { client, timeouts: options.timeouts.clone() };
        Stores { connector, variables: options.environment.0.clone(), open: Mutex::default() }
    }

    pub async fn get(&self, bucket: &Bucket) -> Attempt<Arc<dyn ObjectStore>> {
        if let Some(store) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(bucket) {
            return Ok(store.clone());
        }
        let anonymous = self.is_anonymous(bucket.service).await;
        let store = self.build(bucket, anonymous).map_err(|error| {
            Failure::last(
                ErrorKind::Argument,
                format!("the environment does not say how to reach the store: {error}"),
            )
        })?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(bucket.clone(), store.clone());
        Ok(store)
    }

    /// A server that lists its folders by WebDAV.
    pub fn web_folder(&self, url: &Url) -> object_store::Result<Arc<dyn ObjectStore>> {
        let builder = HttpBuilder::new().with_url(url.as_str()).with_retry(no_retries());
        Ok(Arc::new(builder.with_http_connector(self.connector.clone()).build()?))
    }

    fn build(&self, bucket: &Bucket, anonymous: bool) -> object_store::Result<Arc<dyn ObjectStore>> {
        let connector = self.connector.clone();
        match bucket.service {
            Service::S3 => {
                let mut builder = AmazonS3Builder::new().with_skip_signature(anonymous);
                for (name, value) in &self.variables {
                    if let Some(Ok(key)) = key::<AmazonS3ConfigKey>(name, "aws_") {
                        builder = builder.with_config(key, value);
                    }
                }
                let builder = builder.with_bucket_name(&bucket.name).with_retry(no_retries());
                Ok(Arc::new(builder.with_http_connector(connector).build()?))
            }
            Service::Google => {
                let mut builder = GoogleCloudStorageBuilder::new().with_skip_signature(anonymous);
                if let Some(emulator) = self.variables.get("storage_emulator_host") {
                    let scheme = if emulator.contains("://") { "" } else { "http://" };
                    let url = format!("{scheme}{emulator}");
                    builder = builder.with_base_url(url.trim_end_matches('/'));
                }
                for (name, value) in &self.variables {
                    if let Some(Ok(key)) = key::<GoogleConfigKey>(name, "google_") {
                        builder = builder.with_config(key, value);
                    }
                }
                let builder = builder.with_bucket_name(&bucket.name).with_retry(no_retries());
                Ok(Arc::new(builder.with_http_connector(connector).build()?))
            }
            Service::Azure => {
                let mut builder = MicrosoftAzureBuilder::new().with_skip_signature(anonymous);
                for (name, value) in &self.variables {
                    if let Some(Ok(key)) = key::<AzureConfigKey>(name, "azure_") {
                        builder = builder.with_config(key, value);
                    }
                }
                let builder = builder.with_container_name(&bucket.name).with_retry(no_retries());
                Ok(Arc::new(builder.with_http_connector(connector).build()?))
            }
        }
    }

    /// Whether requests go unsigned: nothing in the environment says who asks, and neither does the machine.
    async fn is_anonymous(&self, service: Service) -> bool {
        let (named, identity): (&[&str], _) = match service {
            Service::S3 => (
                &[
                    "aws_access_key_id",
                    "aws_secret_access_key",
                    "aws_web_identity_token_file",
                    "aws_container_credentials_relative_uri",
                    "aws_container_credentials_full_uri",
                    "aws_skip_signature",
                ],
                (Method::PUT, "latest/api/token", ("x-aws-ec2-metadata-token-ttl-seconds", "60")),
            ),
            Service::Google => (
                &[
                    "google_service_account",
                    "google_service_account_path",
                    "google_service_account_key",
                    "google_application_credentials",
                    "google_bearer_token",
                    "google_skip_signature",
                ],
                (
                    Method::GET,
                    "computeMetadata/v1/instance/service-accounts/default/email",
                    ("metadata-flavor", "Google"),
                ),
            ),
            Service::Azure => (
                &[
                    "azure_storage_account_key",
                    "azure_storage_access_key",
                    "azure_storage_master_key",
                    "azure_storage_sas_key",
                    "azure_storage_sas_token",
                    "azure_storage_token",
                    "azure_storage_client_id",
                    "azure_client_id",
                    "azure_federated_token_file",
                    "azure_storage_use_emulator",
                    "azure_use_azure_cli",
                    "azure_skip_signature",
                ],
                (Method::GET, "metadata/instance?api-version=2021-02-01", ("metadata", "true")),
            ),
        };
        if named.iter().any(|name| self.variables.contains_key(*name)) || self.has_google_file(service) {
            return false;
        }
        !self.machine_has_identity(service, identity).await
    }

    /// Where `gcloud auth application-default login` leaves who asks.
    fn has_google_file(&self, service: Service) -> bool {
        service == Service::Google
            && self.variables.get("home").is_some_and(|home| {
                std::path::Path::new(home)
                    .join(".config/gcloud/application_default_credentials.json")
                    .exists()
            })
    }

    /// Asks the address at which clouds tell their machines who they are.
    async fn machine_has_identity(
        &self,
        service: Service,
        (method, path, header): (Method, &str, (&str, &str)),
    ) -> bool {
        const PATIENCE: Duration = Duration::from_millis(500);
        let disabled =
            |name: &str| self.variables.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if service == Service::S3 && disabled("aws_ec2_metadata_disabled")
            || service == Service::Google && self.variables.contains_key("storage_emulator_host")
        {
            return false;
        }
        let named = self.variables.get("aws_metadata_endpoint").filter(|_| service == Service::S3);
        let machine = named.map_or("http://169.254.169.254", String::as_str).trim_end_matches('/');
        let request = self.connector.client.request(method, format!("{machine}/{path}"));
        let answer = tokio::time::timeout(PATIENCE, request.header(header.0, header.1).send()).await;
        matches!(answer, Ok(Ok(answer)) if answer.status().is_success())
    }
}

/// The setting of a store that the variable `name` stands for, if it has the store's prefix.
fn key<K: std::str::FromStr>(name: &str, prefix: &str) -> Option<Result<K, K::Err>> {
    name.starts_with(prefix).then(|| name.parse())
}

/// Retries are our own, because object_store does not heed `Retry-After`.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// Marks the request for an object, whose bytes are counted by whoever reads them.
#[derive(Clone, Copy)]
pub(super) struct Counted;

/// Most that a store may say of itself: a page of a listing has a few megabytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Gives all stores our client, and turns what it refuses into our failures.
#[derive(Clone, Debug)]
struct Connector {
    client: Client,
    timeouts: Timeouts,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let failed = |failure: Failure| HttpError::new(HttpErrorKind::Unknown, failure);
        let (parts, body) = request.into_parts();
        let counted = parts.extensions.get::<Counted>().is_some();
        let request = self.client.request(parts.method, parts.uri.to_string()).headers(parts.headers);
        let request = request.body(body.as_bytes().cloned().unwrap_or_default());
        let timeouts = self.timeouts.clone();
        let response =
            request.send().await.map_err(|error| failed(Failure::of_request(&error, &timeouts)))?;
        let status = response.status();
        if !status.is_success() {
            let headers = response.headers().clone();
            let code = error_code(&headers, response).await;
            return Err(failed(Failure::refusal(status, &headers, code.as_deref(), &timeouts)));
        }
        let headers = response.headers().clone();
        let body = reqwest::Body::from(response)
            .map_err(move |error| failed(Failure::of_request(&error, &timeouts)));
        let body = match counted {
            true => HttpResponseBody::new(body),
            false => HttpResponseBody::new(Limited::new(body, MAX_ANSWER_BYTES).map_err(move |error| {
                match error.downcast::<HttpError>() {
                    Ok(error) => *error,
                    Err(_) => failed(endless()),
                }
            })),
        };
        let mut response = HttpResponse::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

fn endless() -> Failure {
    let message = format!("the store's answer is longer than {} MiB", MAX_ANSWER_BYTES >> 20);
    Failure::last(ErrorKind::Limit, message).with_hint("is this the address of such a store?")
}

/// The name that a store gives to an error: `<Code>NoSuchBucket</Code>`, or a header of Azure.
async fn error_code(headers: &HeaderMap, mut response: reqwest::Response) -> Option<String> {
    const READ_BYTES: usize = 4096;
    let is_code = |code: &&str| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if let Some(code) = headers.get("x-ms-error-code").and_then(|code| code.to_str().ok()) {
        return Some(code).filter(is_code).map(String::from);
    }
    let mut text = Vec::new();
    while text.len() < READ_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        text.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&text);
    let code = text.split_once("<Code>")?.1.split_once("</Code>")?.0;
    Some(code).filter(is_code).map(String::from)
}
