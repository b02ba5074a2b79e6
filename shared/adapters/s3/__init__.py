"""Objects in any store that speaks S3: MinIO, AWS, versitygw, …"""
