FROM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /image/mediator ./mediator \
 && mkdir -p /image/tmp /image/data /image/settings /image/etc/ssl/certs \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

# Nothing but the static binary, the certificate authorities, a place for temporary files, one for settings, which are
# mounted, and one for data, which needs a volume that lasts.
FROM scratch
COPY --from=build --chown=65532:65532 /image /
USER 65532:65532
ENV DATA_DIR=/data
EXPOSE 8070
ENTRYPOINT ["/mediator"]
CMD ["serve", "--config", "/settings/config.yaml"]
