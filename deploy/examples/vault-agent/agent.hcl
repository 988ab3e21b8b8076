vault {
  address = "https://vault.vault.svc:8200"
}

auto_auth {
  method "kubernetes" {
    mount_path = "auth/kubernetes"
    config = {
      role       = "langflow"
      token_path = "/run/secrets/vault/token"
    }
  }
}

# A key-value secret has no lease: the agent reads it again at this interval.
template_config {
  static_secret_render_interval = "1m"
}

template {
  source               = "/etc/vault-agent/env.ctmpl"
  destination          = "/run/secrets/langflow/env"
  perms                = "0400"
  error_on_missing_key = true
}
