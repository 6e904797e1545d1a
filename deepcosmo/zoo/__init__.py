"""Published models: find, load and download them.

    model = deepcosmo.zoo.load("flow_vae_cosmos")                # a keras.Model
    model = deepcosmo.zoo.load("http://host/flow_vae_cosmos/1")  # from a download tree
    deepcosmo.zoo.list_models(dataset="cosmos_stamps")
    deepcosmo.zoo.info("flow_vae_cosmos").metrics

A name is looked up in the folder `DEEPCOSMO_ZOO`, among the models that come with the package, in the
cache (`DEEPCOSMO_CACHE`) and at `DEEPCOSMO_URL`, in this order. Every file is checked against its SHA-256
before use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
