//! What the benchmarks, examples and integration tests of this repository take from the inside. It changes without notice.

pub mod readers;

pub mod candidates {
    pub use crate::candidates::DensityScorer;
}
pub mod density {
    pub use crate::density::Rule;
}
pub mod device {
    pub use crate::device::DeviceChoice;
}
pub mod extract {
    pub use crate::extract::tiny;
    pub use crate::extract::{
        Extractor, ExtractorRequest, LoadedExtractor, ParameterSource, Parameters, architecture,
    };
}
pub mod finetune {
    pub use crate::finetune::{
        DiffusionConfig, DiffusionTrainer, EmaConfig, GanConfig, GanNetworks, GanTrainer, MEMORY_BYTES,
        PathLength, PathLengthConfig, Paths, R1, RealBatches, RealImages, Rejection, SECOND_ORDER_VARIABLE,
        Scalars, Schedule, Sheet, Trainer, WeightedRows, check_layers, check_second_order, finetune_run,
        r1_penalty, run, run_worker,
    };
}
pub mod formats {
    pub mod npy {
        pub use crate::formats::npy::{read_npy, read_npy_array, write_npy};
    }
    pub mod pickle {
        pub use crate::formats::pickle::parse;
    }
    pub mod safetensors {
        pub use crate::formats::safetensors::write_safetensors;
    }
    pub mod torch {
        pub use crate::formats::torch::{describe_module, module_names, read_module, write_torch};
    }
    pub use crate::formats::{HostTensor, StateDict, TensorData, read_features, read_state_dict};
}
pub mod generate {
    pub use crate::generate::{
        Discriminator, ForwardOptions, GanLoss, Generator, GeneratorRequest, ImageShape, Mode, RandomState,
        Snapshot, initialise, initialise_discriminator, latents_of_seeds, load_discriminator,
    };
}
pub mod images {
    pub use crate::images::{
        Alpha, Color, Filter, Fit, ImageSet, Preprocessing, RgbImage, decode_noted, load,
        set_decoding_memory, write_png,
    };
}
pub mod neighbors {
    pub mod distance {
        pub use crate::neighbors::distance::{squared_l2, squared_l2_f32, squared_l2_within};
    }
    pub use crate::neighbors::{
        Builder, DescentParameters, ExactIndex, GraphIndex, HnswParameters, Measured, NeighborIndex, Search,
        check_finite,
    };
}
pub mod ops {
    pub mod activation {
        pub use crate::ops::activation::Activation;
    }
    pub mod all_reduce {
        pub use crate::ops::all_reduce::{AllReduce, Reducer, mean, sum};
    }
    pub mod batch_norm {
        pub use crate::ops::batch_norm::{batch_norm, batch_statistics};
    }
    pub mod conv {
        pub use crate::ops::conv::{ConvConfig, conv_transpose2d, conv2d};
    }
    pub mod pool {
        pub use crate::ops::pool::global_average_pool;
    }
}
pub mod reference {
    pub use crate::reference::{DensityBy, Reference};
    pub mod embed {
        pub use crate::reference::embed::{EmbedOptions, embed};
    }
    pub mod score {
        pub use crate::reference::score::{ScoreOptions, score_set};
    }
}
pub mod runs {
    pub use crate::runs::RunDir;
}
pub mod train {
    pub use crate::train::AdamConfig;
    pub mod collective {
        pub use crate::train::collective::{Collective, Ranks, single};
    }
}
