//! Certificates: issuing them, and serving those from files.
