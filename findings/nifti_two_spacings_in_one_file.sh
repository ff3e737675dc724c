#!/usr/bin/env bash
# Guess:      one NIfTI file has one voxel size, whoever reads it.
# Happens:    where sform has axes of length 1 and pixdim with qform says 1.4 x 1.4 x 8 mm (the standard keeps the two
#             apart and lets both be set), nibabel's affine has voxels of 1 mm while its own header.get_zooms() says
#             1.4, 1.4, 8, and SimpleITK takes 1.4, 1.4, 8 for the spacing; set qform_code against sform_code as you
#             like, neither reader changes its mind. The cardiac data set ACDC, as downloaded, has such headers.
# Matters to: whoever turns voxels into millilitres or HD95 into mm: the volume of a ventricle differs by the factor
#             15.7 between two right uses of two right readers. Compare affine and zooms before you trust either.
# Versions:   nibabel 5.4.2, simpleitk 2.5.7, numpy 2.4.6; Python 3.11
# Date:       2026-11-30
# Seen:       qform_code, sform_code (1, 2): nibabel affine [1.0, 1.0, 1.0], zooms [1.4, 1.4, 8.0]; SimpleITK
#             [1.4, 1.4, 8.0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nibabel==5.4.2 simpleitk==2.5.7 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import nibabel
import numpy as np
import SimpleITK

print(", ".join(f"{name} {version(name)}" for name in ("nibabel", "simpleitk", "numpy")))
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # ITK warns of "unexpected scales in sform", and reads on


def write(path, qform_code, sform_code):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((4, 5, 6))
    header.set_zooms((1.4, 1.4, 8))
    header.set_xyzt_units("mm", "sec")
    header.set_qform(np.diag([-1.4, -1.4, 8, 1]), code=qform_code)
    header.set_sform(np.diag([-1, -1, 1, 1]), code=sform_code)
    nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), None, header).to_filename(path)


seen = []
for codes in ((1, 2), (2, 1)):
    write("volume.nii", *codes)
    image = nibabel.load("volume.nii")
    held = (int(image.header["qform_code"]), int(image.header["sform_code"]))
    affine_mm = nibabel.affines.voxel_sizes(image.affine).round(3).tolist()
    zooms_mm = [round(float(zoom), 3) for zoom in image.header.get_zooms()]
    itk_mm = [round(spacing, 3) for spacing in SimpleITK.ReadImage("volume.nii").GetSpacing()]
    print(f"qform_code, sform_code {held}: nibabel affine {affine_mm}, zooms {zooms_mm}; SimpleITK {itk_mm}")
    seen.append((held == codes, affine_mm, zooms_mm, itk_mm))
print("expected: one spacing per file")
sys.exit(seen != [(True, [1.0, 1.0, 1.0], [1.4, 1.4, 8.0], [1.4, 1.4, 8.0])] * 2)
PY
