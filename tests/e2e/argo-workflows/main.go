// The controller of Argo Workflows, without the listeners of its own program, which accept connections on all addresses. Arguments:
// kubeconfig, and the namespace of its ConfigMap.
package main

import (
	"context"
	"log"
	"os"

	workflows "github.com/argoproj/argo-workflows/v4/pkg/client/clientset/versioned"
	"github.com/argoproj/argo-workflows/v4/util/logging"
	"github.com/argoproj/argo-workflows/v4/workflow/common"
	"github.com/argoproj/argo-workflows/v4/workflow/controller"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	kubeconfig, namespace := os.Args[1], os.Args[2]
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	ctx := logging.WithLogger(context.Background(), logging.NewSlogLogger(logging.Info, logging.Text))
	everyNamespace, executorImage, pullPolicy := "", "argoexec", "IfNotPresent"
	workflowController, err := controller.NewWorkflowController(ctx, config, kubernetes.NewForConfigOrDie(config),
		workflows.NewForConfigOrDie(config), namespace, everyNamespace, executorImage, pullPolicy, string(logging.Text),
		common.ConfigMapName, false)
	if err != nil {
		log.Fatal(err)
	}
	workflowController.Run(ctx, 4, 1, 1, 1, 1)
}
