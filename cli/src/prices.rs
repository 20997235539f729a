//! AWS's prices for requests, compute, transfer and storage: the table built into the command, or the
//! user's own. No I/O.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Deserializer, de};
use tandem_replication::options::STORAGE_CLASSES;

/// The table that comes with the command, as it can be saved and edited.
pub const TABLE: &str = include_str!("../prices.json");

/// The class of an object that names none, and of the parts of an upload to an archive class.
pub const STANDARD: &str = "STANDARD";

/// The wildcard for every other destination.
const ANY: &str = "*";

/// A limit above every AWS price per unit or per GB.
const PRICE_MAX: f64 = 1_000_000.0;

/// A price in USD, at least 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Usd(pub f64);

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let price = f64::deserialize(deserializer)?;
        if (0.0..=PRICE_MAX).contains(&price) {
            Ok(Self(price))
        } else {
            Err(de::Error::custom(format!(
                "{price} is not a price; give USD from 0 to {PRICE_MAX}"
            )))
        }
    }
}

/// A price table. It has every price of the default region.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The date of these prices.
    pub as_of: NaiveDate,
    currency: Currency,
    default_region: String,
    /// The source of each group of figures, for readers of the table.
    #[serde(rename = "sources")]
    _sources: BTreeMap<String, String>,
    regions: BTreeMap<String, Region>,
    transfer: Transfer,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Currency {
    #[serde(rename = "USD")]
    Usd,
}

/// The prices that differ from those of the default region.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Region {
    classes: BTreeMap<String, Class>,
    lambda: Lambda,
    sqs: Sqs,
    dynamodb: Dynamodb,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Class {
    write_per_1000: Option<Usd>,
    read_per_1000: Option<Usd>,
    retrieval_per_gb: Option<Usd>,
    storage_per_gb_month: Option<Usd>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Lambda {
    requests_per_million: Option<Usd>,
    arm64_per_gb_second: Option<Usd>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sqs {
    requests_per_million: Option<Usd>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Dynamodb {
    writes_per_million: Option<Usd>,
    reads_per_million: Option<Usd>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    default_per_gb: Usd,
    /// By the source's region, then by the destination's.
    per_gb: BTreeMap<String, BTreeMap<String, Usd>>,
}

/// A price of one service, of one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Invocations.
    LambdaRequests,
    /// Compute on arm64.
    LambdaGbSeconds,
    /// Requests to a standard queue.
    SqsRequests,
    /// Write request units.
    DynamodbWrites,
    /// Read request units.
    DynamodbReads,
}

/// A price of one storage class, of one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForClass {
    /// PUT, COPY, POST, LIST.
    Writes,
    /// GET, HEAD and all others.
    Reads,
    /// GB that are read.
    RetrievedGb,
    /// GB that are stored for a month.
    StoredGbMonths,
}

impl Service {
    const ALL: [Self; 5] = [
        Self::LambdaRequests,
        Self::LambdaGbSeconds,
        Self::SqsRequests,
        Self::DynamodbWrites,
        Self::DynamodbReads,
    ];

    /// Returns the price's field within a region, and the number of units that the price is for.
    fn place(self) -> (&'static str, f64) {
        match self {
            Self::LambdaRequests => ("lambda.requests_per_million", 1e6),
            Self::LambdaGbSeconds => ("lambda.arm64_per_gb_second", 1.0),
            Self::SqsRequests => ("sqs.requests_per_million", 1e6),
            Self::DynamodbWrites => ("dynamodb.writes_per_million", 1e6),
            Self::DynamodbReads => ("dynamodb.reads_per_million", 1e6),
        }
    }

    fn of(self, region: &Region) -> Option<Usd> {
        match self {
            Self::LambdaRequests => region.lambda.requests_per_million,
            Self::LambdaGbSeconds => region.lambda.arm64_per_gb_second,
            Self::SqsRequests => region.sqs.requests_per_million,
            Self::DynamodbWrites => region.dynamodb.writes_per_million,
            Self::DynamodbReads => region.dynamodb.reads_per_million,
        }
    }
}

impl ForClass {
    const ALL: [Self; 4] = [
        Self::Writes,
        Self::Reads,
        Self::RetrievedGb,
        Self::StoredGbMonths,
    ];

    fn place(self) -> (&'static str, f64) {
        match self {
            Self::Writes => ("write_per_1000", 1e3),
            Self::Reads => ("read_per_1000", 1e3),
            Self::RetrievedGb => ("retrieval_per_gb", 1.0),
            Self::StoredGbMonths => ("storage_per_gb_month", 1.0),
        }
    }

    fn of(self, class: &Class) -> Option<Usd> {
        match self {
            Self::Writes => class.write_per_1000,
            Self::Reads => class.read_per_1000,
            Self::RetrievedGb => class.retrieval_per_gb,
            Self::StoredGbMonths => class.storage_per_gb_month,
        }
    }
}

impl Prices {
    /// Reads a table. The error names the field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut json = serde_json::Deserializer::from_str(text);
        let prices: Self = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let field = error.path().to_string();
            let problem = error.into_inner();
            if field == "." {
                problem.to_string()
            } else {
                format!("{field}: {problem}")
            }
        })?;
        json.end().map_err(|error| error.to_string())?;
        prices.check()?;
        Ok(prices)
    }

    fn check(&self) -> Result<(), String> {
        let Currency::Usd = self.currency;
        let name = &self.default_region;
        let missing = |field: String| format!("{field}: the default region must have this price");
        let Some(region) = self.regions.get(name) else {
            return Err(missing(format!("regions.{name}")));
        };
        for service in Service::ALL {
            if service.of(region).is_none() {
                return Err(missing(format!("regions.{name}.{}", service.place().0)));
            }
        }
        for class in STORAGE_CLASSES {
            for price in ForClass::ALL {
                if region
                    .classes
                    .get(class)
                    .and_then(|class| price.of(class))
                    .is_none()
                {
                    let field = price.place().0;
                    return Err(missing(format!("regions.{name}.classes.{class}.{field}")));
                }
            }
        }
        for (name, region) in &self.regions {
            for class in region.classes.keys() {
                if !STORAGE_CLASSES.contains(&class.as_str()) {
                    return Err(format!(
                        "regions.{name}.classes.{class}: is not a storage class; give one of {}",
                        STORAGE_CLASSES.join(", ")
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns whether the table lists `region`; if not, the default region's prices apply.
    pub fn knows_region(&self, region: &str) -> bool {
        self.regions.contains_key(region)
    }

    /// Returns the region whose prices apply if another region has none.
    pub fn default_region(&self) -> &str {
        &self.default_region
    }

    /// Returns the USD for one unit in `region`.
    pub fn service(&self, region: &str, service: Service) -> f64 {
        let price = |region: &str| {
            self.regions
                .get(region)
                .and_then(|region| service.of(region))
        };
        let price = price(region).or_else(|| price(&self.default_region));
        // `check` guarantees that the default region has every price.
        price.map_or(0.0, |Usd(usd)| usd / service.place().1)
    }

    /// Returns the USD for one unit in `region`; a class that the table does not know is priced as `STANDARD`.
    pub fn class(&self, region: &str, class: &str, what: ForClass) -> f64 {
        let price = |region: &str, class: &str| {
            let class = self.regions.get(region)?.classes.get(class)?;
            what.of(class)
        };
        let known = price(region, class)
            .or_else(|| price(&self.default_region, class))
            .or_else(|| price(region, STANDARD))
            .or_else(|| price(&self.default_region, STANDARD));
        known.map_or(0.0, |Usd(usd)| usd / what.place().1)
    }

    /// Returns the USD for a GB from one region to another, and whether the table knows the pair.
    pub fn transfer(&self, source: &str, destination: &str) -> (f64, bool) {
        let known = self.transfer.per_gb.get(source).and_then(|destinations| {
            destinations
                .get(destination)
                .or_else(|| destinations.get(ANY))
        });
        match known {
            Some(Usd(usd)) => (*usd, true),
            None => (self.transfer.default_per_gb.0, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices() -> Prices {
        Prices::parse(TABLE).unwrap()
    }

    fn refused(from: &str, to: &str) -> String {
        assert!(TABLE.contains(from), "{from}");
        Prices::parse(&TABLE.replacen(from, to, 1)).unwrap_err()
    }

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-12
    }

    #[test]
    fn a_region_without_a_price_has_the_default_regions_price() {
        let prices = prices();
        let writes = |region, class| prices.class(region, class, ForClass::Writes);
        assert!(near(writes("us-east-1", "STANDARD"), 0.005 / 1000.0));
        assert!(near(writes("us-west-1", "STANDARD"), 0.0055 / 1000.0));
        assert!(near(writes("us-west-1", "STANDARD_IA"), 0.01 / 1000.0));
        assert!(near(writes("mars-1", "DEEP_ARCHIVE"), 0.05 / 1000.0));
        assert!(near(writes("us-east-1", "OF_TOMORROW"), 0.005 / 1000.0));
        assert!(prices.knows_region("us-west-1") && !prices.knows_region("mars-1"));
        let sqs = prices.service("mars-1", Service::SqsRequests);
        assert!(near(sqs, 0.4 / 1e6));
    }

    #[test]
    fn transfer_is_priced_by_the_pair_of_regions_and_unknown_pairs_are_marked() {
        let prices = prices();
        assert_eq!(prices.transfer("us-east-1", "us-east-2"), (0.01, true));
        assert_eq!(prices.transfer("us-east-1", "eu-west-1"), (0.02, true));
        assert_eq!(prices.transfer("mars-1", "us-east-1"), (0.02, false));
    }

    #[test]
    fn the_error_for_a_bad_table_names_the_field() {
        let cases = [
            (
                "\"requests_per_million\": 0.4",
                "\"requests_per_million\": -1",
                "regions.us-east-1.sqs.requests_per_million: -1",
            ),
            (
                "\"requests_per_million\": 0.4",
                "\"requests_per_million\": \"x\"",
                "regions.us-east-1.sqs.requests_per_million",
            ),
            (
                "\"requests_per_million\": 0.4",
                "",
                "regions.us-east-1.sqs.requests_per_million: the default region",
            ),
            (
                "\"storage_per_gb_month\": 0.00099",
                "\"storage_per_gb_year\": 1",
                "regions.us-east-1.classes.DEEP_ARCHIVE",
            ),
            (
                ", \"storage_per_gb_month\": 0.00099",
                "",
                "regions.us-east-1.classes.DEEP_ARCHIVE.storage_per_gb_month: the default region",
            ),
            (
                "\"default_region\": \"us-east-1\"",
                "\"default_region\": \"mars-1\"",
                "regions.mars-1",
            ),
            (
                "\"us-west-1\": {\n      \"classes\": {",
                "\"us-west-1\": {\n      \"classes\": {\"COLD\": {},",
                "regions.us-west-1.classes.COLD",
            ),
            ("\"USD\"", "\"EUR\"", "currency"),
            ("\"2025-10-28\"", "\"yesterday\"", "as_of"),
            (
                "\"sa-east-1\": {\"*\": 0.138}",
                "\"sa-east-1\": 0.138",
                "transfer.per_gb.sa-east-1",
            ),
        ];
        for (from, to, field) in cases {
            let said = refused(from, to);
            assert!(said.starts_with(field), "{said}, not {field}");
        }
        assert!(Prices::parse("").unwrap_err().contains("EOF"));
        assert!(Prices::parse(&format!("{TABLE} x")).is_err());
    }
}
