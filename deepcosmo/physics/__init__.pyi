from . import (
    catalog as catalog,
    cosmology as cosmology,
    fields as fields,
    galaxies as galaxies,
    lensing as lensing,
    lensing_survey as lensing_survey,
    lightcone as lightcone,
    particle_mesh as particle_mesh,
    shear_modes as shear_modes,
    universe as universe,
    wiener as wiener,
)
