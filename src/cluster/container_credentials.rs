//! To be written.
/// The config.
#[derive(Debug)]
pub struct ContainerCredentials {}
impl ContainerCredentials {
    /// Whether.
    pub fn contains(&self, _namespace: &str, _name: &str) -> bool {
        todo!()
    }
}
