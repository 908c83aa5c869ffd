// Package definitions imports the types of which controller-gen generates custom resource definitions.
package definitions

import (
	_ "volcano.sh/apis/pkg/apis/batch/v1alpha1"
	_ "volcano.sh/apis/pkg/apis/flow/v1alpha1"
)
