// The handler of amazon-eks-pod-identity-webhook, which EKS runs in its control planes, on a loopback address: its own program listens on all
// of them. Arguments: address, certificate, key, kubeconfig, and the file of ServiceAccounts that have an association.
package main

import (
	"context"
	"log"
	"math/rand"
	"net/http"
	"os"
	"time"

	"github.com/aws/amazon-eks-pod-identity-webhook/pkg/cache"
	"github.com/aws/amazon-eks-pod-identity-webhook/pkg/containercredentials"
	"github.com/aws/amazon-eks-pod-identity-webhook/pkg/handler"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	address, certificate, key, kubeconfig, pairs := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(clients, time.Minute)
	accounts := cache.New("sts.amazonaws.com", "eks.amazonaws.com", false, 86400, factory.Core().V1().ServiceAccounts(), nil,
		cache.ComposeRoleArn{}, clients.CoreV1())
	stop := make(chan struct{})
	factory.Start(stop)
	accounts.Start(stop)
	associated := containercredentials.NewFileConfig("pods.eks.amazonaws.com",
		"/var/run/secrets/pods.eks.amazonaws.com/serviceaccount", "eks-pod-identity-token", "eks-pod-identity-token",
		"http://169.254.170.23/v1/credentials")
	if err := associated.StartWatcher(context.Background(), pairs); err != nil {
		log.Fatal(err)
	}
	modifier := handler.NewModifier(rand.New(rand.NewSource(time.Now().UnixNano())),
		handler.WithAnnotationDomain("eks.amazonaws.com"),
		handler.WithMountPath("/var/run/secrets/eks.amazonaws.com/serviceaccount"),
		handler.WithServiceAccountCache(accounts),
		handler.WithContainerCredentialsConfig(associated))
	http.HandleFunc("/mutate", modifier.Handle)
	log.Fatal(http.ListenAndServeTLS(address, certificate, key, nil))
}
