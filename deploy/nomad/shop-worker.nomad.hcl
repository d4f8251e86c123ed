# Workers of one application under Nomad. What happens when a worker ends again and again is said
# by three blocks together; docs/how-to/deploy.md tells it in full.
#
#   nomad var put nomad/jobs/shop-worker store=postgresql://…
#   nomad job run deploy/nomad/shop-worker.nomad.hcl

job "shop-worker" {
  type = "service"

  group "worker" {
    count = 3

    network {
      port "probes" {}
    }

    # On the same node: four starts within ten minutes, at least 15 s apart. Then, with "fail",
    # the allocation has failed and `reschedule` decides. With "delay" it would stay on this
    # node and be tried again in the next interval, for ever.
    restart {
      attempts = 4
      interval = "10m"
      delay    = "15s"
      mode     = "fail"
    }

    # On other nodes, ever more slowly, and without end. Without this block's `unlimited` the job
    # would be *dead* once the attempts are used up, and nobody would work.
    reschedule {
      delay          = "30s"
      delay_function = "exponential"
      max_delay      = "10m"
      unlimited      = true
    }

    update {
      max_parallel     = 1
      health_check     = "checks"
      min_healthy_time = "10s"
      healthy_deadline = "3m"
      auto_revert      = true
    }

    service {
      name     = "shop-worker"
      port     = "probes"
      provider = "nomad"

      check {
        name     = "loops"
        type     = "http"
        path     = "/livez"
        interval = "10s"
        timeout  = "3s"

        # A worker whose loops are gone but whose process is not is started anew; each such
        # start is one of the attempts above.
        check_restart {
          limit = 3
          grace = "60s"
        }
      }
    }

    task "worker" {
      driver       = "docker"
      kill_signal  = "SIGTERM"
      # stop_grace (20 s), and after it 10 s in which the process ends for certain. A client cuts
      # this off at its `max_kill_timeout`, which is 30 s unless its operator raised it.
      kill_timeout = "30s"

      config {
        image = "registry.example/shop:1"
        args  = ["worker", "shop.py"]
        ports = ["probes"]
      }

      env {
        DULY_PROBES      = "${NOMAD_PORT_probes}"
        DULY_PROBES_HOST = "0.0.0.0"
        DULY_STOP_GRACE  = "20s"
        DULY_STORE_FILE  = "${NOMAD_SECRETS_DIR}/store"
      }

      template {
        destination = "secrets/store"
        data        = "{{ with nomadVar \"nomad/jobs/shop-worker\" }}{{ .store }}{{ end }}"
        change_mode = "restart"
      }

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
