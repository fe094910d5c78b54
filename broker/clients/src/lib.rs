//! Clients that are not ours against a real broker. There is nothing here but tests: what librdkafka sends, and what it makes of our
//! answers, is beyond what our own codec can say of itself. Other languages' clients are driven by `ci/clients`.
#![forbid(unsafe_code)]
